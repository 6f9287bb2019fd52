package doctor

import (
	"bytes"
	"errors"
	"io"
	"slices"
)

// maxProgram bounds a client's program, in bytes: podman has 40 MiB, CRI-O 60.
const maxProgram = 512 << 20

// clientNames are the programs that pull by policy.json.
var clientNames = []string{"podman", "skopeo", "buildah", "crio"}

// programDirs are where distributions and administrators put programs.
var programDirs = []string{"/usr/bin", "/usr/sbin", "/bin", "/usr/local/bin", "/usr/local/sbin"}

// clients are the paths of the host's clients; one that is a link to another
// directory's stands once.
func (s *snapshot) clients() (out []string) {
	var seen []string
	for _, name := range clientNames {
		for _, dir := range programDirs {
			path := s.At(dir + "/" + name)
			resolved, _, err := s.Resolve(path)
			if err != nil || slices.Contains(seen, resolved) {
				continue
			}
			seen = append(seen, resolved)
			out = append(out, path)
		}
	}
	return out
}

// containsText looks for a text in a stream.
func containsText(r io.Reader, text string) (bool, error) {
	needle := []byte(text)
	buf := make([]byte, 256<<10)
	kept := 0
	for {
		n, err := r.Read(buf[kept:])
		if bytes.Contains(buf[:kept+n], needle) {
			return true, nil
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		// The text may lie across two reads.
		keep := min(len(needle)-1, kept+n)
		copy(buf, buf[kept+n-keep:kept+n])
		kept = keep
	}
}
