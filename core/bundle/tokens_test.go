package bundle

import (
	"strings"
	"testing"
)

// TestA068_LIB34_ManyEmptyValues: a limit in bytes bounds neither the memory nor the time that reading takes.
func TestA068_LIB34_ManyEmptyValues(t *testing.T) {
	for name, template := range map[string]string{
		"entries":    `{"verificationMaterial":{"tlogEntries":[MANY]}}`,
		"timestamps": `{"verificationMaterial":{"timestampVerificationData":{"rfc3161Timestamps":[MANY]}}}`,
		"chain":      `{"verificationMaterial":{"x509CertificateChain":{"certificates":[MANY]}}}`,
		"signatures": `{"dsseEnvelope":{"signatures":[MANY]}}`,
	} {
		for n, want := range map[int]string{100: "mediaType", 1000: "more than 128 elements", (MaxSize - 200) / 3: "more than 128 elements"} {
			text := strings.Replace(template, "MANY", "{}"+strings.Repeat(",{}", n-1), 1)
			if allocated := testing.AllocsPerRun(1, func() {
				if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%d %s: error is %v, want one that names %s", n, name, err, want)
				}
			}); allocated > 20_000 {
				t.Errorf("%d %s: %v allocations", n, name, allocated)
			}
		}
	}
}
