package clients

import (
	"testing"
)

// slsa is a predicate of SLSA's provenance.
const slsa = `{"buildDefinition": {"buildType": "https://acme.example/build", "externalParameters": {}, "resolvedDependencies": []},
 "runDetails": {"builder": {"id": "https://acme.example/builder"}}}`

// Attestations of images are made and verified by both cosigns. (Touchmark's policies do not read them yet.)
func TestAttestations(t *testing.T) {
	start(t)
	cs := cosigns(t)
	for i, c := range cs {
		w := newKeyedWorld(t, c, i == 0)
		predicate := w.file(t, "predicate.json", []byte(slsa))
		variables := w.variables(t)
		for j, m := range modes {
			t.Run(c.name+" "+m.String(), func(t *testing.T) {
				image := w.call(w.Image(t, "acme/"+m.short(), int64(10*i+j)), "$IMAGE")
				w.does(t, c.client, "attests, "+m.String(), nil,
					args([]string{"attest", "--yes"}, w.sign(t, c, m, alice), []string{"--type", "slsaprovenance1", "--predicate", predicate, image})...)
				for _, c := range cs {
					env, common := []string(nil), args([]string{"verify-attestation"}, c.form(m), []string{"--trusted-root", w.Root})
					if m.legacy { // cosign 2 knows no --trusted-root for these
						env, common = variables, args([]string{"verify-attestation"}, c.form(m), []string{"--rekor-url", w.Stack.URL})
					}
					w.does(t, c.client, "verifies an attestation, "+m.String(), env, args(common, w.signer(m, alice), []string{"--type", "slsaprovenance1", image})...)
					w.refuses(t, c.client, "verifies an attestation, "+m.String(), "another type", "none of the attestations matched the predicate type: spdx",
						env, args(common, w.signer(m, alice), []string{"--type", "spdx", image})...)
					w.refuses(t, c.client, "verifies an attestation, "+m.String(), "signed by somebody else", m.reason(alice, bob), env, args(common, w.stranger(m), []string{"--type", "slsaprovenance1", image})...)
				}
			})
		}
	}
}

// An entry kind that the log does not take is refused with a sentence that says what to use instead.
func TestAttestationAsIntoto(t *testing.T) {
	start(t)
	c := cosigns(t)[1]
	w := newWorld(t, true)
	m := mode{legacy: true}
	image := w.call(w.Image(t, "acme/app", 1), "$IMAGE")
	w.refuses(t, c.client, "attests, "+m.String(), "`--rekor-entry-type intoto`", "hashedrekord 0.0.1 and dsse 0.0.1 are", w.variables(t),
		args([]string{"attest", "--yes", "--rekor-entry-type", "intoto"}, w.sign(t, c, m, alice), []string{"--type", "slsaprovenance1", "--predicate", w.file(t, "predicate.json", []byte(slsa)), image})...)
}
