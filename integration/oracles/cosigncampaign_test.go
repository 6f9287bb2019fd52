package oracles

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/predicate"
)

// Annotations of legacy layers, as cosign names them.
const (
	annSignature   = "dev.cosignproject.cosign/signature"
	annCertificate = "dev.sigstore.cosign/certificate"
	annChain       = "dev.sigstore.cosign/chain"
	annBundle      = "dev.sigstore.cosign/bundle"
	annTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// laxer are the places where cosign accepts what ours refuses: by the demand, what was done, and our refusal.
var laxer = []place{
	{regexp.MustCompile(`(?s)ours: .*(it has timestamps of 0 distinct authorities)`),
		"where a timestamp is wanted, cosign accepts evidence that has none, if a key made it or the log says when it was made"},
	{regexp.MustCompile(`(?s)wanted: (stamp|neither); .*ours: .*(log entry:|log proof:|/bundle:|certificate issuance:|signing time: no authenticated)`),
		"where no log is wanted, cosign passes over an entry; ours checks what is there, and its time"},
	{regexp.MustCompile(`(?s)wanted: (log|neither); .*ours: .*(signing time: timestamp|/rfc3161timestamp:)`),
		"where no timestamp is wanted, cosign passes over one; ours checks what is there"},
	{regexp.MustCompile(`(?s)a body with (spaces|a member more), promised anew: true.*ours: .*log entry:`),
		"a body that no log writes: cosign reads what it needs of it, ours wants the canonical text"},
	{regexp.MustCompile(`(?s)integratedTime zero, promised anew: true.*ours: .*log proof: the log \S+ is trusted`),
		"cosign does not know since when a log is trusted"},
	{regexp.MustCompile(`(?s)(with a line behind|twice).*ours: .*(is missing or not base64|is not one PEM certificate|is not empty: an attestation)`),
		"the same value in another spelling; of several certificates cosign takes the first"},
	{regexp.MustCompile(`(?s)rfc3161timestamp with another character.*ours: .*signing time:`),
		"bits of a timestamp that nothing signs: names of types and algorithms, which cosign does not look at"},
}

// stricter are those where it is the other way round.
var stricter = []place{
	{regexp.MustCompile(`(?s)attestation true.*cosign/signature dropped`),
		"cosign wants an attestation to have an annotation for its signature, which is empty: the signature stands in the envelope"},
}

// TestCosign lays good and tampered legacy evidence beside an image and asks both verifiers: whatever ours accepts, cosign accepts.
func TestCosign(t *testing.T) {
	l := newCosignLab(t)
	key := coretest.NewKey(t)
	random := rand.New(rand.NewPCG(1, 2))
	counts := make(map[string]int)
	laid := 0
	for _, attestation := range []bool{false, true} {
		for _, keyed := range []bool{false, true} {
			var demands []legacyDemand
			for _, d := range []legacyDemand{{name: "log", log: true}, {name: "stamp", stamp: true}, {name: "log and stamp", log: true, stamp: true}, {name: "neither"}} {
				if d.attestation = attestation; keyed {
					d.key = key.Public()
				} else if d.name == "neither" {
					continue // cosign would hold a certificate against today's clock
				}
				demands = append(demands, d)
			}
			options := func(o coretest.SignOptions) coretest.SignOptions {
				o.Content = coretest.SimpleSigning
				if attestation {
					o.Content, o.PredicateType, o.Predicate = coretest.LegacyAttestation, predicate.Vuln, `{"critical":0}`
				}
				if keyed {
					o.Key = key
				} else if o.Identity.SAN.Value == "" {
					o.Identity = alice
				}
				return o
			}
			for _, base := range []struct {
				name string
				opts coretest.SignOptions
			}{
				{"logged", coretest.SignOptions{WithoutTimestamp: true}}, {"stamped", coretest.SignOptions{WithoutLog: true}}, {"logged and stamped", coretest.SignOptions{}},
				{"bare", coretest.SignOptions{WithoutLog: true, WithoutTimestamp: true}},
			} {
				good := asLayer(t, l.SignDigest(t, digestOf(t, l.image), options(base.opts)))
				donors := map[string]layer{
					"mallory's":    asLayer(t, l.SignDigest(t, digestOf(t, l.image), malloryOptions(t, options(base.opts)))),
					"another's":    asLayer(t, l.SignDigest(t, [32]byte{1}, options(base.opts))),
					"a second":     asLayer(t, l.SignDigest(t, digestOf(t, l.image), options(base.opts))),
					"a stranger's": asLayer(t, coretest.New(t).SignDigest(t, digestOf(t, l.image), options(base.opts))),
				}
				for i, v := range variants(t, l, good, donors, random) {
					if testing.Short() && i%5 != 0 {
						continue
					}
					prefix := l.lay(t, attestation, v.layers)
					laid++
					found := l.find(t, prefix, attestation)
					for _, d := range demands {
						what := fmt.Sprintf("%s, attestation %v, keyed %v; wanted: %s; %s", base.name, attestation, keyed, d.name, v.what)
						ours, theirs := l.ours(found, d), l.theirs(t.Context(), prefix, d)
						switch {
						case ours == nil && theirs == nil:
							counts["both accept"]++
						case ours != nil && theirs != nil:
							counts["both refuse"]++
							if strings.Contains(theirs.Error(), "cosign panics") {
								counts["cosign panics"]++
							}
						case ours == nil:
							counts["ours alone accepts"]++
							if !listed(stricter, what) {
								t.Errorf("%s: ours accepts it; cosign: %v", what, theirs)
							}
						default:
							counts["cosign alone accepts"]++
							if what = fmt.Sprintf("%s; ours: %v", what, ours); !listed(laxer, what) {
								t.Errorf("cosign accepts it: %s", what)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d images of evidence: %v", laid, counts)
	if testing.Short() {
		return
	}
	if laid < 300 || counts["both accept"] < 100 || counts["both refuse"] < 300 {
		t.Errorf("%d images of evidence, %v: too few", laid, counts)
	}
}

func malloryOptions(tb testing.TB, o coretest.SignOptions) coretest.SignOptions {
	tb.Helper()
	if o.Key != nil {
		o.Key = coretest.NewKey(tb)
	} else {
		o.Identity = mallory
	}
	return o
}

// variant is evidence with which something was done.
type variant struct {
	what   string
	layers []layer
}

// variants are a good layer, the same among others, and the same tampered with.
func variants(tb testing.TB, l *cosignLab, good layer, donors map[string]layer, random *rand.Rand) (all []variant) {
	tb.Helper()
	add := func(what string, change func(one *layer)) {
		one := layer{bytes.Clone(good.content), maps.Clone(good.annotations)}
		change(&one)
		all = append(all, variant{what, []layer{one}})
	}
	add("as it is", func(*layer) {})
	for _, donor := range slices.Sorted(maps.Keys(donors)) {
		other := donors[donor]
		all = append(all, variant{donor + " layer alone", []layer{other}}, variant{donor + " layer first", []layer{other, good}}, variant{donor + " layer last", []layer{good, other}})
		add(donor+" content", func(one *layer) { one.content = other.content })
		for _, a := range []string{annSignature, annCertificate, annChain, annBundle, annTimestamp} {
			if text, ok := other.annotations[a]; ok {
				add(donor+" "+a, func(one *layer) { one.annotations[a] = text })
			}
		}
	}
	for _, a := range slices.Sorted(maps.Keys(good.annotations)) {
		add(a+" dropped", func(one *layer) { delete(one.annotations, a) })
		add(a+" emptied", func(one *layer) { one.annotations[a] = "" })
		add(a+" with a line behind", func(one *layer) { one.annotations[a] += "\n" })
		add(a+" twice", func(one *layer) { one.annotations[a] += one.annotations[a] })
		if text := good.annotations[a]; text != "" {
			add(a+" cut off", func(one *layer) { one.annotations[a] = text[:len(text)-3] })
			for range 4 {
				at := random.IntN(len(text))
				add(a+" with another character", func(one *layer) {
					changed := []byte(text)
					changed[at] ^= 1
					one.annotations[a] = string(changed)
				})
			}
		}
	}
	for range 4 {
		at := random.IntN(len(good.content))
		add("content with another bit", func(one *layer) { one.content[at] ^= 1 << random.IntN(7) })
	}
	add("content with a space behind", func(one *layer) { one.content = append(one.content, ' ') })
	add("chain annotation of the authorities", func(one *layer) {
		one.annotations[annChain] = string(pemChain(l.CA.Intermediate, l.CA.Root))
	})
	add("chain annotation of nobody", func(one *layer) {
		stranger := coretest.NewCA(tb, coretest.Start)
		one.annotations[annChain] = string(pemChain(stranger.Intermediate, stranger.Root))
	})
	add("certificate annotation that is a public key", func(one *layer) { one.annotations[annCertificate] = string(publicPEM(tb, l.V1.Key.Public())) })
	add("an annotation that nobody knows", func(one *layer) { one.annotations["example"] = "x" })
	return append(all, bundleVariants(tb, l, good)...)
}

// bundleVariants change what the log's entry says, with the log's signature renewed or not.
func bundleVariants(tb testing.TB, l *cosignLab, good layer) (all []variant) {
	tb.Helper()
	text, ok := good.annotations[annBundle]
	if !ok {
		return nil
	}
	var parsed map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&parsed); err != nil {
		tb.Fatal(err)
	}
	payload := parsed["Payload"].(map[string]any)
	body, err := base64.StdEncoding.DecodeString(payload["body"].(string))
	if err != nil {
		tb.Fatal(err)
	}
	for what, change := range map[string]func(e *bundle.Entry){
		"integratedTime later than the certificate": func(e *bundle.Entry) { e.IntegratedTime += int64(time.Hour / time.Second) },
		"integratedTime before the certificate":     func(e *bundle.Entry) { e.IntegratedTime -= int64(time.Hour / time.Second) },
		"integratedTime a second later":             func(e *bundle.Entry) { e.IntegratedTime++ },
		"integratedTime zero":                       func(e *bundle.Entry) { e.IntegratedTime = 0 },
		"another logIndex":                          func(e *bundle.Entry) { e.LogIndex++ },
		"another logID":                             func(e *bundle.Entry) { e.LogID[3] ^= 1 },
		"a body of another kind":                    func(e *bundle.Entry) { e.Body = bytes.Replace(body, []byte(`"kind":"`), []byte(`"kind":"x`), 1) },
		"a body of another version":                 func(e *bundle.Entry) { e.Body = bytes.Replace(body, []byte(`"0.0.1"`), []byte(`"0.0.9"`), 1) },
		"a body with another digest": func(e *bundle.Entry) {
			e.Body = regexp.MustCompile(`"value":"..`).ReplaceAllFunc(body, func(value []byte) []byte {
				if bytes.HasSuffix(value, []byte("00")) {
					return []byte(`"value":"11`)
				}
				return []byte(`"value":"00`)
			})
		},
		"a body with a member more": func(e *bundle.Entry) { e.Body = bytes.Replace(body, []byte(`{`), []byte(`{"surplus":1,`), 1) },
		"a body with spaces":        func(e *bundle.Entry) { e.Body = append(bytes.Clone(body), ' ') },
		"no body":                   func(e *bundle.Entry) { e.Body = []byte("{}") },
	} {
		for _, renewed := range []bool{false, true} {
			entry := bundle.Entry{LogID: l.V1.ID, Body: body}
			if entry.IntegratedTime, err = payload["integratedTime"].(json.Number).Int64(); err != nil {
				tb.Fatal(err)
			}
			if entry.LogIndex, err = payload["logIndex"].(json.Number).Int64(); err != nil {
				tb.Fatal(err)
			}
			change(&entry)
			changed := map[string]any{"SignedEntryTimestamp": parsed["SignedEntryTimestamp"], "Payload": map[string]any{
				"body": base64.StdEncoding.EncodeToString(entry.Body), "integratedTime": entry.IntegratedTime, "logIndex": entry.LogIndex, "logID": fmt.Sprintf("%x", entry.LogID),
			}}
			if renewed {
				changed["SignedEntryTimestamp"] = l.V1.Promise(tb, entry)
			}
			one := layer{good.content, maps.Clone(good.annotations)}
			one.annotations[annBundle] = asText(tb, changed)
			all = append(all, variant{fmt.Sprintf("%s, promised anew: %v", what, renewed), []layer{one}})
		}
	}
	return all
}

func asText(tb testing.TB, v any) string {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}
