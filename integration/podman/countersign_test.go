package podman_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/podman/lookaside"
)

// admitAll admits every image: here it matters what clients make of a countersignature.
type admitAll struct{}

func (admitAll) Admit(_ context.Context, req gate.Request) gate.Verdict {
	return gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodeAdmitted, Repository: req.Repository, Digest: req.Digest.String()}
}

// The newest containers/image, with Go's OpenPGP, accepts both forms of countersignatures for ten minutes, and while keys are rotated. What older ones make of them
// is held in podman/lookaside.
func TestPOD10_FormsAndRotation(t *testing.T) {
	registry := coretest.NewRegistry(t, true)
	image := registry + "/acme/app:1"
	coretest.Push(t, image, coretest.Image(t, 1))
	for form, rule := range map[countersign.Form]string{
		countersign.OpenPGP:  `{"type": "signedBy", "keyType": "GPGKeys", "keyPath": %q, "signedIdentity": {"type": "matchRepository"}}`,
		countersign.Sigstore: `{"type": "sigstoreSigned", "pki": {"caRootsPath": %q, "subjectEmail": "` + countersign.Subject + `"}, "signedIdentity": {"type": "matchRepository"}}`,
	} {
		t.Run(string(form), func(t *testing.T) {
			dir := t.TempDir()
			key := countersign.Config{Form: form, Key: filepath.Join(dir, "key"), Public: filepath.Join(dir, "public")}
			if _, err := countersign.Generate(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			open := func() *countersign.Key {
				k, err := countersign.Open(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				return k
			}
			write := func(file, text string) string {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return path
			}
			policy := write("policy.json", fmt.Sprintf(`{"default": [{"type": "reject"}], "transports": {"docker": {%q: [`+rule+`]}}}`, registry, key.Public))
			conf := write("registries.conf", fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", registry))
			// judge asks the client about the image while a key signs by a clock that is so much behind.
			judge := func(k *countersign.Key, behind time.Duration) string {
				t.Helper()
				h, err := lookaside.New(lookaside.Config{
					Admitter: admitAll{}, Key: k,
					Logical: func(physical string) ([]string, error) { return []string{physical}, nil },
					Source: func(physical string, _ bool) (attach.Source, error) {
						repo, err := name.NewRepository(physical)
						return attach.Source{Repository: repo}, err
					},
					Now: func() time.Time { return time.Now().Add(-behind) },
				})
				if err != nil {
					t.Fatal(err)
				}
				server := httptest.NewServer(h)
				defer server.Close()
				registries := filepath.Dir(write("registries.d/touchmark.yaml", fmt.Sprintf("docker:\n  %s:\n    lookaside: %s/lookaside/%[1]s\n", registry, server.URL)))

				c := lab.Command{Program: policyjudge, Stdin: fmt.Appendf(nil, `{"reference": %q}`+"\n", image)}
				out := c.Run(t, "-policy", policy, "-registries.d", registries, "-registries.conf", conf)
				var answer struct {
					Reference, Error string
					Allowed          bool
				}
				if err := json.Unmarshal([]byte(out.Stdout), &answer); err != nil || answer.Allowed != (answer.Error == "") {
					t.Fatalf("%v: %s", err, out.Output())
				}
				return answer.Error
			}
			// require wants a refusal with a text in it, or none.
			require := func(what, refusal, want string) {
				t.Helper()
				if (refusal == "") != (want == "") || !strings.Contains(refusal, want) {
					t.Errorf("%s: refusal %q, want %q", what, refusal, want)
				}
			}
			before := open()
			require("just made", judge(before, 0), "")
			require("nine minutes old", judge(open(), 9*time.Minute), "")
			require("eleven minutes old", judge(open(), 11*time.Minute), "expired")
			if err := countersign.Rotate(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			require("rotated, by the previous key", judge(before, 0), "")
			require("rotated, by the new key", judge(open(), 0), "")
			if err := countersign.Retire(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			require("retired, by the previous key", judge(before, 0), "rejected")
			require("retired, by the new key", judge(open(), 0), "")
		})
	}
}
