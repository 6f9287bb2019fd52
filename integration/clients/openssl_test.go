package clients

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// openssl makes a timestamp request, which is sent over HTTP, and accepts the answer.
func TestOpenSSL(t *testing.T) {
	start(t)
	c := client{Command: lab.Command{Program: coretest.RequireTool(t, "openssl")}, name: "openssl", shown: "openssl"}
	w := newWorld(t, true)
	file, other := w.file(t, "file", []byte("content\n")), w.file(t, "other", []byte("other\n"))
	query, chain := w.path("file.tsq"), w.file(t, "tsa.pem", w.get(t, "/api/v1/timestamp/certchain"))
	w.does(t, c, "asks for a timestamp", nil, "ts", "-query", "-data", file, "-sha256", "-cert", "-out", query)
	body, err := os.ReadFile(query)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(w.Stack.URL+"/api/v1/timestamp", "application/timestamp-query", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("status %d, %v: %s", resp.StatusCode, err, answer)
	}
	reply := w.file(t, "file.tsr", answer)
	w.does(t, c, "verifies a timestamp", nil, "ts", "-verify", "-in", reply, "-queryfile", query, "-CAfile", chain)
	w.refuses(t, c, "verifies a timestamp", "of something else", "message imprint mismatch", nil, "ts", "-verify", "-in", reply, "-data", other, "-CAfile", chain)
}
