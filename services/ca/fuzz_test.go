package ca

import (
	"encoding/json"
	"testing"
)

// Whatever a request holds, it is read without a panic, and what is read of it is what a strict reader reads.
func FuzzParse(f *testing.F) {
	key, proof := newSigner(alice)
	f.Add(v2Body("a.b.c", publicPEM(key.Public()), proof))
	f.Add([]byte(`{"publicKey":{"content":"AAAA"},"signedEmailAddress":"AAAA"}`))
	f.Add([]byte(`{"certificateSigningRequest":"AAAA"}`))
	f.Add([]byte(`{"a":[{"b":1,"b":2}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, parse := range []func([]byte, string) (signingRequest, error){parseV1, parseV2} {
			request, err := parse(body, "Bearer a.b.c")
			if err == nil && (request.key == nil || !json.Valid(body)) {
				t.Errorf("accepted: %+v", request)
			}
		}
	})
}

// A token that is taken apart has three canonical parts and an algorithm of the list.
func FuzzSplitToken(f *testing.F) {
	f.Add(signJWT([]byte(`{"iss":"x"}`), goodHeader()))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		h, claims, err := splitToken(token)
		if err != nil {
			return
		}
		if len(token) > maxToken || claims == nil || h.algorithm == "none" || h.algorithm[0] == 'H' {
			t.Errorf("accepted: %+v", h)
		}
	})
}
