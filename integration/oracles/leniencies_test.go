package oracles

import "regexp"

// leniencies are the places of scrambled bundles where sigstore-go accepts what ours refuses, by the code of the refusal, and why that is so. The flaws name theirs.
var leniencies = map[string][]place{
	"invalid-log-proof": {
		{regexp.MustCompile(`inclusionProof\.(rootHash|treeSize)`),
			"sigstore-go takes both from the checkpoint, and ignores what the proof says of them; ours wants them equal"},
		{regexp.MustCompile(`inclusionProof\.logIndex`), needlessIndex},
		{regexp.MustCompile(`checkpoint(\.envelope)?: (bit flipped|text)`),
			"the name in a note's signature line, which nothing signs: for Rekor v1 sigstore-go goes by the key's hint alone; ours wants the log's name, as the signed-note specification says, and canonical base64"},
	},
	"cannot-be-witnessed":    {{regexp.MustCompile(`inclusionProof`), noWitnesses}},
	"witness-quorum-not-met": {{regexp.MustCompile(`.`), noWitnesses}},
	"signature-too-old":      {{regexp.MustCompile(`.`), tooOld}},
	"no-authenticated-time": {
		{regexp.MustCompile(`^verificationMaterial\.timestampVerificationData`), tooOld + "; ours can't tell how old a key's signature without any time is"},
	},
	"invalid-timestamp": {
		{regexp.MustCompile(`rfc3161Timestamps|timestampVerificationData: from a donor`), tooOld + "; then ours needs a good timestamp where sigstore-go passes over a bad one"},
		{regexp.MustCompile(`signedTimestamp`),
			"bits that nothing signs: names of algorithms and versions, which sigstore-go does not look at or reads as BER"},
	},
	"log-entry-mismatch": {
		{regexp.MustCompile(`canonicalizedBody`),
			"of a Rekor v2 entry sigstore-go, too, proves what it rebuilt itself, and then ignores the body that came along; ours wants them equal"},
		{regexp.MustCompile(`kindVersion`), kindVersion},
	},
	"unsupported-evidence": {{regexp.MustCompile(`kindVersion`), kindVersion}},
	"wrong-artifact": {
		{regexp.MustCompile(`^messageSignature\.messageDigest\.algorithm`),
			"sigstore-go compares the hint's value and not its algorithm; the key says which one it is"},
	},
	unreadable: {
		{regexp.MustCompile(`^mediaType: `),
			"versions differ in what they demand of an entry: ours demands it of each, sigstore-go of one"},
		{regexp.MustCompile(`: text$`),
			"the same value in another spelling: base64 that is not canonical, a member that stands twice"},
		{regexp.MustCompile(`^messageSignature\.messageDigest\.algorithm`),
			"sigstore-go compares the hint's value and not its algorithm; the key says which one it is"},
		{regexp.MustCompile(`rfc3161Timestamps(\[0\])?(\.signedTimestamp)?: (emptied|dropped|first repeated|cut off)`),
			"where it needs no timestamp, sigstore-go passes over an empty one and over any number of them"},
		{regexp.MustCompile(`inclusionPromise(\.signedEntryTimestamp)?: (emptied|dropped|cut off)`),
			"to sigstore-go an empty promise is none"},
		{regexp.MustCompile(`inclusionProof(\.checkpoint(\.envelope)?)?: (dropped|emptied|cut off)`),
			"of versions above 0.1 sigstore-go demands that one entry has a proof; ours wants one in each"},
		{regexp.MustCompile(`inclusionProof\.(logIndex|treeSize)`),
			"negative numbers and no leaves at all, which sigstore-go does not look at: see invalid-log-proof"},
		{regexp.MustCompile(`kindVersion`), kindVersion},
	},
}

func explained(code, what string) bool { return listed(leniencies[code], what) }
