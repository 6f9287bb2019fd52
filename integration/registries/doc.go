// Package registries tests core/attach on real registries, each as its own process: distribution 3, which integration/tools.sh installs, and Debian's
// docker-registry (distribution 2), with and without TLS, passwords and tokens; and on go-containerregistry's, which has the referrers API that these have not.
package registries
