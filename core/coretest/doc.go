// Package coretest is a Sigstore in memory, and images to sign, for tests. Nothing but tests may import it.
//
// [New] makes certificate authority, certificate log, both kinds of signature log and timestamp authority with fresh keys under one clock that the test
// moves. [Sigstore.SignDigest] makes complete evidence of every form; the methods of its parts make each piece separately,
// so that a test of an attack can combine pieces that do not belong together or leave one out:
//
//	s := coretest.New(t)
//	alice := identity.Identity{SAN: identity.SAN{Kind: identity.Email, Value: "alice@acme.example"}, Issuer: coretest.Issuer}
//	evidence := s.SignDigest(t, digest, coretest.SignOptions{Identity: alice})
//	root := s.TrustedRoot(t)
//
// [Image], [Index] and [NewRegistry] serve what registries hold. [RequireTool] finds programs that only some tests need.
package coretest
