package oracles

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"

	"github.com/touchmark/touchmark/core/verify"
)

// campaignSize is how many inputs are judged: 10,000, or as CAMPAIGN_INPUTS says (make torture asks for 120,000).
func campaignSize(tb testing.TB) int { return int(setting(tb, "CAMPAIGN_INPUTS", 10_000)) }

// campaignSeed is where the inputs come from: 1, or as CAMPAIGN_SEED says (make torture draws one). Equal seeds give equal inputs, to the byte.
func campaignSeed(tb testing.TB) uint64 { return setting(tb, "CAMPAIGN_SEED", 1) }

func setting(tb testing.TB, name string, usual uint64) uint64 {
	tb.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return n
}

// perDraft is how many inputs come from one draft: the good one, one with a flaw, and scrambled copies of the good one.
const perDraft = 5

// question is one input with what must come out.
type question struct {
	input
	id      string // says how to make it again
	what    string // the flaw, or the place of the scrambling; "" for a good one
	code    verify.Code
	random  bool // scrambled: nobody knows what must come out, but ours must not accept what sigstore-go refuses
	lenient string
	// diverges says that the evidence is of the one kind that ours accepts and sigstore-go refuses: see [cosignedV1].
	diverges bool
}

// Over many inputs, good ones, ones with exactly one flaw and scrambled ones, ours accepts nothing that sigstore-go refuses; each flaw is refused by the check that it
// is for and by no other, and where sigstore-go accepts it a reason is given. The good ones, which differ from these in the flaw alone, both accept.
//
// CAMPAIGN_SEED and CAMPAIGN_INPUTS change what is asked; CAMPAIGN_DRAFT asks about one draft only, as a failure names it.
func TestLIB35_Campaign(t *testing.T) {
	seed, size := campaignSeed(t), campaignSize(t)
	t.Logf("CAMPAIGN_SEED=%d CAMPAIGN_INPUTS=%d", seed, size)
	first, last := uint64(0), uint64(size/perDraft)
	if only := os.Getenv("CAMPAIGN_DRAFT"); only != "" {
		first = setting(t, "CAMPAIGN_DRAFT", 0)
		last = first + 1
	}
	questions := make(chan question, 64)
	results := newScore()
	var judges sync.WaitGroup
	for range 2 {
		judges.Go(func() {
			for q := range questions {
				results.judge(q)
			}
		})
	}
	generate(t, seed, first, last, func(q question) { questions <- q })
	close(questions)
	judges.Wait()
	results.report(t, size, last-first > 1)
}

// generate makes the inputs of drafts, each of which depends on nothing but the seed and its number.
func generate(t *testing.T, seed, first, last uint64, ask func(question)) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	c := newCast(t)
	codes, flaws := byCode()
	for n := first; n < last; n++ {
		cryptotest.SetGlobalRandom(t, seed^(n+1)<<20)
		random := rand.New(rand.NewPCG(seed, n))
		ofCode := flaws[codes[n%uint64(len(codes))]]
		f := ofCode[n/uint64(len(codes))%uint64(len(ofCode))]
		d := newDraft(t, random, c, f.insist)
		id := fmt.Sprintf("CAMPAIGN_SEED=%d CAMPAIGN_DRAFT=%d", seed, n)
		good, err := d.finish()
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		diverges := d.shape.demand == twoWitnesses && !d.shape.v2 && !d.shape.proofless // see cosignedV1
		ask(question{input: good, id: id, diverges: diverges})
		for range perDraft - 2 {
			scrambled, where := scramble(t, random, good.bundle, c)
			in := good
			in.bundle = scrambled
			ask(question{input: in, id: id, what: where, random: true, diverges: diverges})
		}
		f.do(d)
		flawed, err := d.finish()
		if err != nil {
			t.Fatalf("%s, %s: %v", id, f.name, err)
		}
		ask(question{input: flawed, id: id, what: f.name, code: f.code, lenient: f.lenient, diverges: diverges})
	}
}

// byCode sorts the flaws by the check that must refuse them, so that each check has equally many.
func byCode() ([]verify.Code, map[verify.Code][]flaw) {
	flaws := make(map[verify.Code][]flaw)
	for _, f := range allFlaws() {
		flaws[f.code] = append(flaws[f.code], f)
	}
	return slices.Sorted(maps.Keys(flaws)), flaws
}

// score is what came out. It is safe for concurrent use.
type score struct {
	mu       sync.Mutex
	asked    int
	decoded  int
	accepted int
	diverged int                            // accepted by ours alone, for a reason that is listed
	sole     map[verify.Code]int            // refusals whose only cause is the code's check
	refused  map[string]int                 // refusals of scrambled inputs, by code
	lenient  map[string]map[string][]string // IDs of what sigstore-go alone accepts, by code and by what is wrong
	problems map[string][]string            // by kind
	strict   map[string]int                 // flaws that sigstore-go accepted, and is expected to
}

func newScore() *score {
	return &score{sole: map[verify.Code]int{}, refused: map[string]int{}, lenient: map[string]map[string][]string{}, strict: map[string]int{}, problems: map[string][]string{}}
}

// unreadable is counted for what core/bundle refuses.
const unreadable = "unreadable"

func (s *score) judge(q question) {
	our, their, err := q.judges()
	var ourErr, theirErr error
	if err == nil {
		ourErr, theirErr = our(q.bundle), their(q.bundle)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	problem := func(format string, args ...any) {
		kind := q.what + ": " + fmt.Sprintf(format, args...)
		s.problems[kind] = append(s.problems[kind], fmt.Sprintf("%s\nours        %v\nsigstore-go %v\n%s", q.id, ourErr, theirErr, q.bundle))
	}
	if err != nil {
		problem("it cannot be judged: %v", err)
		return
	}
	s.asked++
	var refused *verify.Error
	code, place := unreadable, q.what[:max(0, strings.LastIndex(q.what, ": "))]
	if errors.As(ourErr, &refused) {
		code = string(refused.Code)
	}
	if ourErr == nil || refused != nil {
		s.decoded++
	}
	switch {
	case ourErr == nil && q.code != "":
		problem("accepted, want %q", q.code)
	case ourErr == nil && theirErr != nil && (q.diverges || q.random && listed(divergences, place)):
		s.diverged++
	case ourErr == nil && theirErr != nil:
		problem("ours accepts, sigstore-go refuses")
	case ourErr == nil:
		s.accepted++
	case q.random:
		s.refused[code]++
		if theirErr == nil {
			s.countLenient(code, q.what, q.id)
		}
	case q.what == "":
		problem("a good one is refused")
	case code != string(q.code):
		problem("refused as %q, want %q", code, q.code)
	case theirErr == nil && q.lenient == "":
		problem("sigstore-go accepts it, and no reason is given")
	default:
		s.sole[q.code]++
		if theirErr == nil {
			s.strict[q.what]++
		}
	}
}

func (s *score) countLenient(code, what, id string) {
	if s.lenient[code] == nil {
		s.lenient[code] = map[string][]string{}
	}
	s.lenient[code][what] = append(s.lenient[code][what], id)
}

// report prints the score and fails where it is not enough. whole says that the campaign was a whole one.
func (s *score) report(t *testing.T, size int, whole bool) {
	t.Helper()
	for _, kind := range slices.Sorted(maps.Keys(s.problems)) {
		t.Errorf("%s (%d times), as %s", kind, len(s.problems[kind]), s.problems[kind][0])
	}
	t.Logf("%d inputs, %d decode, both accept %d, ours alone %d (all known)", s.asked, s.decoded, s.accepted, s.diverged)
	for _, code := range slices.Sorted(maps.Keys(s.sole)) {
		t.Logf("sole cause %-24s %6d", code, s.sole[code])
	}
	for _, code := range slices.Sorted(maps.Keys(s.refused)) {
		t.Logf("scrambled, %-24s %6d", code, s.refused[code])
	}
	for _, what := range slices.Sorted(maps.Keys(s.strict)) {
		t.Logf("only sigstore-go accepts: %s (%d)", what, s.strict[what])
	}
	for _, code := range slices.Sorted(maps.Keys(s.lenient)) {
		for _, what := range slices.Sorted(maps.Keys(s.lenient[code])) {
			ids := s.lenient[code][what]
			t.Logf("only sigstore-go accepts what ours refuses as %s: %s (%d)", code, what, len(ids))
			if !explained(code, what) {
				t.Errorf("no reason is given for it; %s", ids[0])
			}
		}
	}
	if !whole {
		return
	}
	if s.decoded*10 < s.asked*4 {
		t.Errorf("only %d of %d inputs decode, want 40 %%", s.decoded, s.asked)
	}
	want := max(1, 500*size/100_000)
	for _, f := range allFlaws() {
		if n := s.sole[f.code]; n < want {
			t.Errorf("%s is the sole cause of %d refusals, want %d", f.code, n, want)
			s.sole[f.code] = want
		}
	}
}

// Equal seeds give equal inputs, so that a failure can be made again from what it prints; and other seeds others.
func TestCampaignIsReproducible(t *testing.T) {
	ask := func(seed, first, last uint64) (texts []string) {
		generate(t, seed, first, last, func(q question) { texts = append(texts, q.id+q.what+string(q.bundle)) })
		return texts
	}
	whole := ask(5, 0, 40)
	if again := ask(5, 0, 40); !slices.Equal(whole, again) {
		t.Error("equal seeds give different inputs")
	}
	if alone := ask(5, 39, 40); !slices.Equal(whole[39*perDraft:], alone) {
		t.Error("a draft depends on those before it")
	}
	if other := ask(6, 0, 40); slices.Equal(whole, other) {
		t.Error("different seeds give equal inputs")
	}
}

// Every code that core/verify has is the sole cause of some flaw, so that a new check does not go unnoticed here.
func TestCampaignCoversEveryCode(t *testing.T) {
	_, flaws := byCode()
	declared := regexp.MustCompile(`(?m)^\tCode\w+ +Code += "([a-z0-9-]+)"`).FindAllSubmatch(read(t, "../../core/verify/result.go"), -1)
	for _, code := range declared {
		if len(flaws[verify.Code(code[1])]) == 0 {
			t.Errorf("no flaw is refused as %s", code[1])
		}
	}
	if len(declared) != len(flaws) {
		t.Errorf("%d codes are declared, flaws have %d", len(declared), len(flaws))
	}
}
