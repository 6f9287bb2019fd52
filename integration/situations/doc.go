// Package situations is a matrix of the situations that an image can be in, each
// with the verdict that is right, for tests of every enforcement point.
//
// situations.yaml is the matrix, written by hand: what signed the image and how,
// what else lies beside it, what the policy and the site say, what the registry
// does wrong, and which verdict that must give. A verdict in it is a decision of
// a person; nothing computes it. [All] reads it, strictly.
//
// Most situations are written as another one and what is different:
//
//   - name: another-signer
//     is: mallory signed, alice is wanted
//     like: bundle
//     but: {signer: mallory}
//     refused: signature-not-accepted
//     says: signed by mallory@evil.example
//
// One that is not admitted must be like one that is, but for one fact: so that
// it is refused for that one reason, and for no other that nobody thought of.
//
// [Build] makes it all real, in this process: a registry (in which each situation
// has a repository of its own), two Sigstores, a lookaside server, and for each
// site a directory of policy files and the trust roots to load. What is wrong
// with the registry is wrong with the server, for every client that asks it
// about that repository. A test of an enforcement point asks it about each
// [Image] and holds the answer against [Situation.At]:
//
//	w := situations.Build(t)
//	for _, image := range w.Images {
//		want := image.At("proxy")
//		...
//	}
//
// The clock is the real one, since clients can't be given another: signatures
// are made a minute before now, old ones are dated back, and exceptions end
// relative to now.
package situations
