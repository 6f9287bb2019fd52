package gate

// Remedy says what somebody whose pull it is can do about an answer, in a sentence
// or two; "" where there is nothing to do. docs/verdicts.md has the same text.
func (c Code) Remedy() string { return remedies[c] }

var remedies = map[Code]string{
	CodeException:       "grant holds the exception; sign the image before it ends",
	CodePinned:          "grant holds the pin and when it should be reviewed",
	CodeObserved:        "sign the image before the policy enforces",
	CodeUnmatched:       "the site's unmatched rule says so; write a policy",
	CodeNoPolicy:        "add a glob that matches the repository; Docker Hub's images are docker.io/library/...",
	CodeRevoked:         "use another image; nothing overrides a revocation",
	CodeDenied:          "the policy's author wants this",
	CodeUnsigned:        "sign this digest: touchmark sign. If it was signed, look at the lookups: they say where was searched",
	CodeNotAcceptable:   "each signature's checks say which of them failed",
	CodeAttestationOnly: "sign the image, or take the attestations block in advice over into the policy",
	CodeNoAttestation:   "make one: touchmark attest",
	CodePredicate:       "the attestation is genuine; what it says is not what the policy's Rego or CUE wants",
	CodeForeign:         "sign it with Sigstore too",
	CodeLookupFailed:    "it is the registry or the network; try again. A registry that has not even the image (does not have the image itself) hides it from these credentials, or is the wrong one",
	CodeForbidden:       "credentials: give some that may read the repository",
	CodeThrottled:       "the registry limits how often it may be asked; manifestRequests says what one decision costs",
	CodeTimeout:         "the registry took more than 8 seconds",
	CodeParentUnknown:   "sign the platforms, too (touchmark sign does); pull by the tag, or through the proxy, which sees the index. Where an agent's search of the repository goes on, the reason says so: try again",
	CodeTooMuch:         "remove what somebody put beside the image",
	CodeSlowEvidence:    "remove what somebody put beside the image: it was made to be slow",
	CodePredicateFail:   "the Rego or CUE program, or its evaluator, does not work",
	CodeStaleRoot:       "the agent, or the proxy, could not refresh the root by TUF for longer than maxStale: see touchmark doctor and the repository's operators",
	CodeNoAgent:         "start it: systemctl start touchmark-agent.socket, or touchmark agent",
	CodeCancelled:       "the client went away",
	CodeBadRequest:      "the enforcement point asked a wrong question: please report it",
}
