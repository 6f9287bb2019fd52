package gate_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
)

// A vendor's images, signed as Red Hat signs: OpenPGP messages on a web server.
func TestOpenPGPLookaside(t *testing.T) {
	w := newWorld(t, release)
	config := &packet.Config{Time: w.clock.Now, RSABits: 2048, Algorithm: packet.PubKeyAlgoRSA}
	vendor, err := pgp.NewEntity("vendor", "", "", config)
	if err != nil {
		t.Fatal(err)
	}
	var keys bytes.Buffer
	a, err := armor.Encode(&keys, pgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	vendor.Serialize(a)
	a.Close()
	files := make(map[string][]byte)
	answer := 0 // status of every answer, if set
	lookaside := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, ok := files[r.URL.Path]
		switch {
		case answer != 0:
			rw.WriteHeader(answer)
		case !ok:
			http.NotFound(rw, r)
		default:
			rw.Write(body)
		}
	}))
	defer lookaside.Close()
	put := func(n int, repository string) {
		var out bytes.Buffer
		sw, err := pgp.Sign(&out, vendor, nil, config)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sw, `{"critical":{"identity":{"docker-reference":"%s:latest"},"image":{"docker-manifest-digest":"%s"},"type":"atomic container signature"},"optional":{}}`, repository, w.image.DigestStr())
		sw.Close()
		files[fmt.Sprintf("/sigs/acme/app@%s/signature-%d", strings.Replace(w.image.DigestStr(), ":", "=", 1), n)] = out.Bytes()
	}
	g1 := site("  openpgp:\n  - name: vendor\n    images: [{glob: registry.example/acme/**}]\n    lookaside: " + lookaside.URL + "/sigs\n    key: |\n      " + strings.ReplaceAll(keys.String(), "\n", "\n      ") + "\n")
	g := w.newGate(t, g1)
	admit := func() gate.Verdict {
		w.clock.Advance(2e9) // past the short life of a refusal
		return g.Admit(t.Context(), w.request(t, w.image))
	}
	w.wire.set(nil)
	require(t, "nothing there", admit(), gate.OutcomeRefused, gate.CodeUnsigned)
	answer = 503
	require(t, "outage", admit(), gate.OutcomeUndecided, gate.CodeLookupFailed)
	answer = 0
	put(1, "registry.example/acme/other")
	require(t, "about another repository", admit(), gate.OutcomeRefused, gate.CodeNotAcceptable)
	put(2, repository)
	require(t, "signed", admit(), gate.OutcomeAdmitted, gate.CodeAdmitted)
	g = w.newGate(t, strings.Replace(g1, "spec:\n", "spec:\n  witnesses: {quorum: 1, keys: ["+coretest.NewWitness(t, "w").Witness().String()+"]}\n", 1))
	require(t, "witnesses asked for", admit(), gate.OutcomeRefused, gate.CodeNotAcceptable)
}
