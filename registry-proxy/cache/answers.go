package cache

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// MaxAnswer is the largest body of an answer that is kept, in bytes: the largest manifest, and the largest piece of evidence.
const MaxAnswer = 8 << 20

// answerFresh is how long an answer that is repeated is not written again.
const answerFresh = time.Minute

// maxAnswerHead bounds the line before the body: a key is a path with a query, and a Link header names another.
const maxAnswerHead = 16 << 10

// Answer is what an upstream answered to a GET request: a manifest, a list of referrers, a piece of evidence, or that there is none. It
// has led to an admission once, and is kept for the time when the upstream cannot be asked. It decides nothing: what comes of it is judged
// like what the upstream sends.
type Answer struct {
	// Repository, with the registry's name, and Key, the request's path and query, name what was asked for.
	Repository string `json:"repository"`
	Key        string `json:"key"`
	// Status is 200, or 404 with no body.
	Status      int       `json:"status"`
	ContentType string    `json:"contentType,omitempty"`
	Link        string    `json:"link,omitempty"` // to the next page
	At          time.Time `json:"at"`             // when the upstream gave it
	Body        []byte    `json:"-"`
}

// answerHead is the first line of an answer's file; the body follows. Its sum tells a damaged file.
type answerHead struct {
	Answer
	Sum string `json:"sha256"` // of the body
}

func answerName(repository, key string) string {
	return filepath.Join(answersOf(repository), hexOf(key))
}

func answersOf(repository string) string { return filepath.Join(answersDir, hexOf(repository)) }

func hexOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// Keep keeps an answer, in the place of an older one. Where it cannot be written, the cache does without: then there is none for the
// next outage, and nobody's pull fails for it now.
func (c *Cache) Keep(a Answer) {
	if len(a.Body) > MaxAnswer {
		return
	}
	sum := sha256.Sum256(a.Body)
	head, err := json.Marshal(answerHead{a, hex.EncodeToString(sum[:])})
	if err != nil || len(head) >= maxAnswerHead {
		return
	}
	name := answerName(a.Repository, a.Key)
	e := &entry{name: name, size: int64(len(head) + 1 + len(a.Body)), touched: c.now(), sum: sum}
	c.mu.Lock()
	old, same := c.entries[name]
	if same = same && old.sum == sum && c.now().Sub(old.touched) < answerFresh; same {
		c.recent.MoveToFront(old.element)
	}
	room := !same && !c.now().Before(c.trouble) && c.reserved+e.cost() <= c.max && c.evict(e.cost())
	c.mu.Unlock()
	if !room {
		return
	}
	err = c.writeAnswer(name, head, a.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.complain("keeping an answer of the upstream", err)
		return
	}
	c.add(e)
}

// writeAnswer does not synchronize: a pull waits for it, and the sum tells what a power failure left of it.
func (c *Cache) writeAnswer(name string, head, body []byte) error {
	f, err := c.partial()
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(append(head, '\n'), body...))
	if err == nil {
		err = c.keep(f, name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Recall gives the answer that was kept, if there is one.
func (c *Cache) Recall(repository, key string) (Answer, bool) {
	c.mu.Lock()
	e, ok := c.entries[answerName(repository, key)]
	if ok {
		c.use(e)
	}
	c.mu.Unlock()
	if !ok {
		return Answer{}, false
	}
	a, err := c.readAnswer(e.name, key)
	if err == nil && (a.Repository != repository || a.Key != key) {
		err = errOtherKey
	}
	if err != nil {
		c.remove(e, err)
		return Answer{}, false
	}
	return a, true
}

// Recalled yields the answers that were kept for a repository to questions that begin with a prefix, one at a time: all of them may be as
// large as the cache.
func (c *Cache) Recalled(repository, prefix string) iter.Seq[Answer] {
	return func(yield func(Answer) bool) {
		names, _ := os.ReadDir(c.path(answersOf(repository))) // none, or none that can be read
		for _, n := range names {
			name := filepath.Join(answersOf(repository), n.Name())
			a, err := c.readAnswer(name, prefix)
			if err == nil && answerName(a.Repository, a.Key) == name && !yield(a) {
				return
			}
		}
	}
}

// errOtherKey says that a file is the answer to another question.
var errOtherKey = errors.New("it is the answer to another question")

// readAnswer reads and checks one file, whose key begins with a prefix.
func (c *Cache) readAnswer(name, prefix string) (Answer, error) {
	f, err := os.Open(c.path(name))
	if err != nil {
		return Answer{}, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(io.LimitReader(f, maxAnswerHead+MaxAnswer+1), maxAnswerHead)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return Answer{}, fmt.Errorf("its first line: %w", err)
	}
	var head answerHead
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&head); err != nil {
		return Answer{}, fmt.Errorf("its first line: %w", err)
	}
	if !strings.HasPrefix(head.Key, prefix) {
		return Answer{}, errOtherKey
	}
	if head.Body, err = io.ReadAll(r); err != nil {
		return Answer{}, err
	}
	sum := sha256.Sum256(head.Body)
	if !strings.EqualFold(hex.EncodeToString(sum[:]), head.Sum) || len(head.Body) > MaxAnswer {
		return Answer{}, errors.New("its body is not what was written")
	}
	return head.Answer, nil
}
