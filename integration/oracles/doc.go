// Package oracles holds core's verifier against the reference: on whatever input, ours accepts only what sigstore-go accepts.
//
// It is a module of its own, so that what only tests need stays out of the product's go.mod. Bundles that others made are read from sigstore-go's module in the
// module cache; bundles of our own come from core/coretest. Each is tampered with in thousands of ways (see mutations), and both verifiers judge every copy.
//
// Other references are held against the rest: policy-controller's webhook against the gate, over a matrix of policies and images whose verdicts a person wrote down
// (exchanges); its matcher and its evaluators against globs and predicates; cosign 2 against legacy signatures and attestations; and a JSON Schema validator against
// verdicts. What differs on purpose is listed with its reason, here and in docs/policy.md, and a test holds both lists together.
//
// The benchmarks measure both verifiers on the same bundle in the same run.
package oracles
