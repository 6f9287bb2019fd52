package doctor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/loopback"
	"github.com/touchmark/touchmark/registry-proxy/service"
)

const (
	// answerTimeout bounds a question to the running proxy, which may have to ask its
	// upstream to answer a probe.
	answerTimeout = time.Minute
	// maxAnswer bounds an answer, in bytes: manifests have up to 4 MiB, the metrics of
	// a hundred registries some hundred KiB.
	maxAnswer = 8 << 20
)

// checkRunning asks the running proxy how it is.
func checkRunning(ctx context.Context, s *snapshot) {
	if s.conf == nil || !s.Live {
		return
	}
	url := s.proxyURL()
	resp, _, err := ask(ctx, s.client(), url+"/v2/", nil)
	switch unknown := (x509.UnknownAuthorityError{}); {
	case errors.Is(err, errOtherCertificate):
		s.Find("proxy-certificate-old", url, "%v", err)
	case errors.As(err, &unknown):
		s.Find("proxy-authority-unknown", url, "%v", err)
	case err != nil:
		s.Find(unanswered(err), url, "%v", err)
	case resp.Header.Get("Docker-Distribution-Api-Version") == "":
		s.Find("proxy-foreign", url, "HTTP %d, and nothing that a registry says", resp.StatusCode)
	}
	metrics := s.metricsURL()
	if metrics == "" {
		return
	}
	resp, body, err := ask(ctx, s.metricsClient(), metrics+"/readyz", nil)
	switch {
	case err != nil:
		s.Find(unanswered(err), metrics, "%v", err)
		return
	case resp.StatusCode != http.StatusOK:
		s.Find("proxy-not-ready", metrics+"/readyz", "HTTP %d: %s", resp.StatusCode, strings.TrimSpace(string(body[:min(len(body), maxSaid)])))
	}
	resp, body, err = ask(ctx, s.metricsClient(), metrics+"/metrics", nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.Find("proxy-foreign", metrics+"/metrics", "there are no metrics")
		return
	}
	s.checkMetrics(metrics+"/metrics", body)
}

// unanswered is the cause of an error that is not about a certificate: what listens and
// speaks no TLS where the proxy does is something else, or the proxy by another file.
func unanswered(err error) string {
	if other := (tls.RecordHeaderError{}); errors.As(err, &other) || errors.Is(err, http.ErrSchemeMismatch) {
		return "proxy-foreign"
	}
	return "proxy-down"
}

// checkMetrics compares what runs with what the files say.
func (s *snapshot) checkMetrics(where string, body []byte) {
	metrics := series(body)
	if _, known := metrics["touchmark_reload_failed"]; !known {
		s.Find("proxy-foreign", where, "what answers is no proxy of Touchmark's")
		return
	}
	if metrics["touchmark_reload_failed"] != "0" {
		s.Find("proxy-reload-failed", where, "touchmark_reload_failed is %s", metrics["touchmark_reload_failed"])
	}
	if dropped := metrics["touchmark_proxy_decisions_dropped_total"]; dropped != "" && dropped != "0" {
		s.Find("decisions-dropped", where, "%s of them", dropped)
	}
	for _, r := range s.conf.Followed() {
		s.checkRefreshed(where, r.Name, metrics)
	}
	want := fmt.Sprintf("touchmark_proxy_configuration_info{digest=%q}", hex.EncodeToString(s.conf.Digest[:]))
	if _, known := metrics[want]; !known {
		s.Find("proxy-outdated", s.File, "the running proxy was made from another file than this one as it is now")
		return
	}
	for _, r := range s.rules {
		if r.set == nil {
			continue
		}
		for _, name := range r.names {
			want := fmt.Sprintf("touchmark_proxy_rules_info{policy=%q,registry=%q,trust=%q}", hex.EncodeToString(r.set.Digest[:]), name, service.TrustDigest(r.roots))
			if _, known := metrics[want]; !known {
				s.Find("proxy-outdated", r.section.Policy, "the running proxy judges images of %s by other policies or trust roots than these", name)
			}
		}
	}
}

// refreshLate is how long a trust root may not have been refreshed. The repository is asked
// every hour, and again after five minutes if it could not be.
const refreshLate = 3 * time.Hour

// checkRefreshed looks whether a trust root that is followed is still refreshed.
func (s *snapshot) checkRefreshed(where, name string, metrics map[string]string) {
	label := fmt.Sprintf("{name=%q}", name)
	at, err := strconv.ParseFloat(metrics["touchmark_trust_root_refreshed_timestamp"+label], 64)
	failures := metrics["touchmark_trust_root_refresh_failures_total"+label]
	switch last := time.Unix(int64(at), 0); {
	case err != nil: // the proxy goes by another file, as will be said
	case at == 0 && failures != "0":
		s.Find("trust-refresh-failing", where, "the trust root %s was not refreshed since the proxy was started; attempts that failed: %s", name, failures)
	case at != 0 && s.Now.Sub(last) > refreshLate:
		s.Find("trust-refresh-failing", where, "the trust root %s was last refreshed on %s; attempts that failed since the start: %s", name, last.UTC().Format(time.RFC3339), failures)
	}
}

// series are the values of Prometheus's text format, by name with labels.
func series(body []byte) map[string]string {
	out := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(body))
	for lines.Scan() {
		line := lines.Text()
		if at := strings.LastIndexByte(line, ' '); at > 0 && !strings.HasPrefix(line, "#") {
			out[line[:at]] = line[at+1:]
		}
	}
	return out
}

// proxyURL is where the running proxy is asked.
func (s *snapshot) proxyURL() string {
	if s.URL != "" {
		return strings.TrimSuffix(s.URL, "/")
	}
	scheme := "http"
	if s.conf.TLS.Cert != "" {
		scheme = "https"
	}
	return scheme + "://" + reachable(s.conf.Listen)
}

// metricsURL is where its metrics are; empty if it has none.
func (s *snapshot) metricsURL() string {
	switch {
	case s.Metrics != "":
		return strings.TrimSuffix(s.Metrics, "/")
	case s.conf.Metrics == "" || s.URL != "": // another machine's are elsewhere
		return ""
	}
	return "http://" + reachable(s.conf.Metrics)
}

// reachable is an address to connect to, for one to listen on.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

// errOtherCertificate says that the certificate is not that of the file.
var errOtherCertificate = errors.New("the proxy shows another certificate than the file has")

// client asks the running proxy. At its own address, which no certificate names, it is
// known by the very certificate of the file; under a URL that clients use, as they do it.
func (s *snapshot) client() *http.Client {
	if s.conf.TLS.Cert == "" || s.URL != "" && !s.ownAddress() {
		return asking(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.authorities})
	}
	want := s.served()
	return asking(&tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does it, by a stricter rule
		VerifyConnection: func(state tls.ConnectionState) error {
			if want == nil || len(state.PeerCertificates) == 0 || !bytes.Equal(state.PeerCertificates[0].Raw, want.Raw) {
				return errOtherCertificate
			}
			return nil
		},
	})
}

// metricsClient asks for the metrics, which something else may serve over TLS.
func (s *snapshot) metricsClient() *http.Client {
	return asking(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.authorities})
}

// asking is a client that goes where it is sent, and nowhere else.
func asking(c *tls.Config) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	transport.Proxy = nil
	transport.TLSClientConfig = c
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ownAddress reports whether the URL is an address of this machine.
func (s *snapshot) ownAddress() bool {
	_, rest, _ := strings.Cut(s.URL, "://")
	return loopback.Host(hostOf(strings.TrimSuffix(rest, "/")))
}

// ask gets a URL, and reads the answer's body within bounds.
func ask(ctx context.Context, client *http.Client, url string, edit func(*http.Request)) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	if edit != nil {
		edit(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp, body, err
}
