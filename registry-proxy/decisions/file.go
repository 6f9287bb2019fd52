package decisions

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxFile bounds the file, in bytes; FILE.1 has as many.
	maxFile = 128 << 20
	// maxReadBack bounds what is read of each when the log is opened.
	maxReadBack = 16 << 20
	// maxLine bounds one line.
	maxLine = 64 << 10
	// flushEvery is how long a decision may wait for others to be written with.
	flushEvery = 250 * time.Millisecond
	// maxBuffer is how many bytes may wait.
	maxBuffer = 256 << 10
)

// file is the file that lines are appended to.
type file struct {
	path    string
	f       *os.File // nil after it could not be opened
	size    int64
	dropped atomic.Uint64

	mu  sync.Mutex
	err error // guarded by mu
}

func openFile(path string) (*file, error) {
	l := &file{path: path}
	return l, l.open()
}

func (l *file) open() error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", l.path)
	}
	if err == nil {
		err = endLine(f, info.Size())
	}
	if err != nil {
		_ = f.Close() // the other error says more
		return err
	}
	l.f, l.size = f, info.Size()
	return nil
}

// endLine ends a line that was being written when the machine stopped.
func endLine(f *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err := f.Write([]byte("\n"))
	return err
}

// write is the goroutine that writes.
func (l *Log) write() {
	defer close(l.done)
	var buffer bytes.Buffer
	waiting := 0
	flush := func() {
		if waiting > 0 {
			l.changed(l.file.append(buffer.Bytes(), waiting))
			buffer.Reset()
			waiting = 0
		}
	}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case d, ok := <-l.queue:
			if !ok {
				flush()
				if l.file.f != nil {
					_ = l.file.f.Close() // every write was checked
				}
				return
			}
			d.Verdict = d.whole()
			line, err := json.Marshal(d)
			if err != nil || len(line) >= maxLine {
				l.file.dropped.Add(1)
				continue
			}
			buffer.Write(append(line, '\n'))
			waiting++
			if buffer.Len() > maxBuffer {
				flush()
			}
		case <-tick.C:
			flush()
		}
	}
}

// append writes lines, into another file if this one is full or was moved away.
func (l *file) append(lines []byte, n int) error {
	err := l.ready()
	if err == nil {
		var written int
		written, err = l.f.Write(lines)
		l.size += int64(written)
		if err != nil && written > 0 {
			l.reopen() // what was written in part is ended there
		}
	}
	if err != nil {
		l.dropped.Add(uint64(n))
	}
	return err
}

// ready makes sure that what is open is what the path leads to, and not full.
func (l *file) ready() error {
	if l.f == nil {
		return l.open()
	}
	here, err := os.Stat(l.path)
	mine, mineErr := l.f.Stat()
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && mineErr == nil && !os.SameFile(here, mine):
		l.reopen()
	case l.size >= maxFile:
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			return err
		}
		l.reopen()
	}
	if l.f == nil {
		return l.open()
	}
	return nil
}

// reopen has the next write open the file.
func (l *file) reopen() {
	_ = l.f.Close() // every write was checked
	l.f = nil
}

// changed notes what came of a write.
func (l *Log) changed(err error) {
	l.file.mu.Lock()
	was := l.file.err
	l.file.err = err
	l.file.mu.Unlock()
	if (was == nil) != (err == nil) && l.config.Changed != nil {
		l.config.Changed(err)
	}
}

func (l *file) status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Status{Err: l.err, Dropped: l.dropped.Load()}
}

// readBack calls keep for the decisions at the end of a file, the oldest first. A
// file that is not there has none; a line that is none of ours is passed over.
func readBack(path string, keep func(Decision)) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not wait for a writer
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", path)
	}
	from := max(0, info.Size()-maxReadBack)
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(io.LimitReader(f, maxReadBack), maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		var d Decision
		if err == nil && json.Unmarshal(line, &d) == nil && d.ID != "" && len(d.Verdict) <= maxVerdict {
			keep(d)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}
