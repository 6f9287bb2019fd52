// Beside is what the benchmarks of the registry proxy run beside it, as processes of their own:
//
//	beside proxy URL ADDRESS      a plain reverse proxy in front of the URL, listening on the address
//	beside idle ADDRESS N         N connections to the address of which nothing comes, until it is killed; it says "open" when all are there
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"sync"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("see the source")
	}
	switch os.Args[1] {
	case "proxy":
		target, err := url.Parse(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		log.Fatal(http.ListenAndServe(os.Args[3], &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, BufferPool: &pool{},
		}))
	case "idle":
		n, err := strconv.Atoi(os.Args[3])
		if err != nil {
			log.Fatal(err)
		}
		idle(os.Args[2], n)
	}
}

// pool has buffers of 64 KiB, twice of what a reverse proxy without a pool takes and throws away.
type pool struct{ sync.Pool }

// Get implements httputil.BufferPool.
func (p *pool) Get() []byte {
	if b, ok := p.Pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 64<<10)
}

// Put implements httputil.BufferPool.
func (p *pool) Put(b []byte) { p.Pool.Put(&b) }

// idle holds connections: every other one after a request, where the server waits for the next, and the rest in the midst of one. What the server closes is
// opened again.
func idle(address string, n int) {
	var open sync.WaitGroup
	open.Add(n)
	dialing := make(chan struct{}, 64) // as many as a listener's queue surely takes
	for i := range n {
		go func() {
			for first := true; ; first = false {
				dialing <- struct{}{}
				conn, err := net.Dial("tcp", address)
				if err == nil && i%2 == 0 {
					err = request(conn)
				} else if err == nil {
					_, err = io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: p\r\nX: ")
				}
				<-dialing
				if err != nil {
					log.Fatal(err)
				}
				if first {
					open.Done()
				}
				_, _ = conn.Read(make([]byte, 1<<10)) // until the server has had enough
				conn.Close()
			}
		}()
	}
	open.Wait()
	fmt.Println("open")
	select {}
}

// request sends one request and reads its answer.
func request(conn net.Conn) error {
	if _, err := io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: p\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
