package doctor

// Severity says what a cause does to images.
type Severity string

const (
	// Open: an image gets in that Touchmark's policy was not asked about.
	Open Severity = "open"
	// Broken: images that ought to get in don't, or it cannot be told.
	Broken Severity = "broken"
	// Warning: nothing yet.
	Warning Severity = "warning"
)

func (s Severity) rank() int {
	switch s {
	case Open:
		return 0
	case Broken:
		return 1
	}
	return 2
}

// Cause is a way in which a host comes not to enforce.
type Cause struct {
	// Code is stable: scripts, alerts and the metric name it.
	Code     string
	Severity Severity
	// Title says what it is.
	Title string
	// Remedy says what to do about it.
	Remedy string
	// Fixable says that [Fix] can do it.
	Fixable bool
}

// Subject is a part of the catalog.
type Subject struct {
	Title  string
	Causes []Cause
}

// Catalog is every cause that [Examine] knows, by subject.
func Catalog() []Subject {
	return []Subject{
		{"policy.json", policyCauses},
		{"Keys that policy.json trusts", keyringCauses},
		{"registries.d", lookasideCauses},
		{"registries.conf", registriesCauses},
		{"The agent", agentCauses},
		{"Touchmark's own files", fileCauses},
		{"Ways round policy.json", bypassCauses},
		{"Users of the host", userCauses},
		{"Storage, and what else pulls", hostCauses},
		{"What a probe showed", probeCauses},
	}
}

const reinstall = "run touchmark install podman"

var policyCauses = []Cause{
	{"policy-missing", Broken, "there is no policy.json: clients refuse to start a pull", reinstall, true},
	{"policy-unparsable", Broken, "policy.json is not one: clients refuse to start a pull", "correct the line, or restore the file with touchmark uninstall podman", false},
	{"policy-writable", Open, "others than its owner can write policy.json, or replace it", "give the file to root, with mode 0644, and its directories too", true},
	{"default-accepts", Open, "what no scope is about is accepted", reinstall + ", or let the default be reject", true},
	{"docker-accepts", Open, "images of every registry that no scope is about are accepted", reinstall + `, or take transports.docker[""] out`, true},
	{"scope-accepts", Open, "a declared scope accepts anything", reinstall, true},
	{"scope-missing", Broken, "a declared scope refuses everything, whatever Touchmark says", reinstall, true},
	{"scope-other-key", Open, "a declared scope demands a signature, but not this host's: Touchmark's policy is not asked", reinstall, true},
	{"namespace-accepts", Open, "a namespace or repository within a declared scope accepts anything", "take the narrower scope out, or let it require the host's key", true},
	{"namespace-other-key", Open, "a namespace or repository within a declared scope demands another signature than this host's", "take the narrower scope out, or let it require the host's key", true},
	{"image-accepts", Open, "one tag or digest within a declared scope accepts anything", "take it out, and use touchmark allow, which expires", true},
	{"wildcard-accepts", Open, "a wildcard scope accepts hosts that are meant to be enforced", "take it out, or let it require the host's key", true},
	{"spelling-accepts", Open, "another name of a declared registry, such as the one with :443, accepts anything", reinstall, true},
	{"undeclared-accepts", Open, "a registry outside of the declared scopes accepts anything, though the default refuses", "take the scope out, or declare it: podman.scopes in config.yaml", false},
	{"identity-fixed", Open, "signedIdentity takes a countersignature for another image as one for this", `use "signedIdentity": {"type": "matchRepository"}`, true},
	{"identity-exact", Broken, "signedIdentity wants a tag in the signature: a countersignature names the repository and the digest", `use "signedIdentity": {"type": "matchRepository"}`, true},
	{"transport-open", Open, "another transport accepts anything: archives and directories are loaded unjudged", "let the transport be reject, or have it on record: touchmark doctor podman --allow-transport", true},
	{"scope-undeclared", Broken, "nothing says which images are to be enforced", "name them in podman.scopes of config.yaml, or with --scope", false},
}

var keyringCauses = []Cause{
	{"keyring-missing", Broken, "the keyring that policy.json names is not there", reinstall, true},
	{"keyring-unusable", Broken, "the keyring that policy.json names holds no key that can be read", reinstall, true},
	{"keyring-other", Broken, "the keyring that policy.json names does not hold the agent's key", reinstall + "; after a rotation, restart the agent", true},
	{"keyring-extra", Open, "the keyring that policy.json names holds keys that are not the agent's: what they signed gets in unjudged", "remove the other keys; " + reinstall, true},
	{"keyring-writable", Open, "others than its owner can write the keyring: they add a key of their own", "give the file to root, with mode 0644, and its directories too", true},
	{"key-previous", Warning, "a key that was rotated out is still accepted", "restart the agent, so that it signs with the new one, and ten minutes later: touchmark agent key retire", false},
	{"sigstore-compiled-out", Broken, "this host's client cannot verify Sigstore signatures, and policy.json demands them", "use podman.form: openpgp, which every client reads", false},
}

var lookasideCauses = []Cause{
	{"registriesd-unparsable", Broken, "a file of registries.d is none: clients refuse to start a pull", "correct the line", false},
	{"registriesd-clash", Broken, "two files of registries.d say something about one namespace, or both have default-docker: clients refuse to start a pull", "keep one of them", false},
	{"registriesd-writable", Warning, "others than their owner can write registries.d: they can have every image refused", "give the files to root, with mode 0644", true},
	{"lookaside-missing", Broken, "a declared scope requires the host's key, but no lookaside leads to the agent: every image is refused", reinstall, true},
	{"lookaside-overridden", Broken, "a more specific entry leads elsewhere than to the agent: its images are refused", "take the entry's lookaside out; the agent chains it: " + reinstall, true},
	{"lookaside-elsewhere", Broken, "the lookaside of a declared scope leads elsewhere than to the agent", reinstall, true},
	{"lookaside-other-registry", Broken, "the lookaside asks the agent about another registry than that of its entry", reinstall, true},
	{"lookaside-not-loopback", Warning, "the lookaside is asked by plain HTTP across the network: who sits on the path can refuse, and replay for ten minutes", "let the agent listen on loopback", false},
	{"lookaside-for-everything", Warning, "default-docker leads to the agent: it is asked about images that are not to be enforced", "set the lookaside for the declared scopes only: " + reinstall, false},
	{"staging-missing", Warning, "there is no lookaside-staging: podman push --sign-by tries to write its signatures to the agent", reinstall, true},
	{"attachments-off", Broken, "policy.json wants Sigstore signatures from the registry, and use-sigstore-attachments is not set for it", "set use-sigstore-attachments: true for the registry in registries.d", false},
}

var registriesCauses = []Cause{
	{"registries-unparsable", Broken, "registries.conf is not one: clients refuse to start a pull", "correct the line", false},
	{"registries-writable", Warning, "others than their owner can write registries.conf: they decide where images come from", "give the files to root, with mode 0644", true},
	{"proxy-as-mirror", Open, "the proxy is a mirror: where it refuses, the client goes on to the registry itself", "make the proxy the registry's location: touchmark install podman --proxy", true},
	{"proxy-bypassed", Open, "policy.json leaves the scope to the proxy, and images are fetched from somewhere else", "make the proxy the registry's location: touchmark install podman --proxy", true},
	{"rewrite-ambiguous", Broken, "a rule leads to its location from any number of names: the agent cannot tell which image is meant", "give the rule's hosts a prefix each", false},
	{"registry-insecure", Warning, "a registry across the network is asked without TLS", "take insecure = true out", false},
	{"registry-blocked", Warning, "a declared scope is blocked: nothing of it can be pulled", "take blocked = true out, or the scope", false},
	{"alias-unjudged", Open, "a short name leads to an image that nothing judges", "take the alias out, or declare where it leads to", false},
	{"search-unjudged", Open, "short names are looked for in a registry that nothing judges", "take the registry out of unqualified-search-registries, or declare it", false},
	{"signatures-extension", Broken, "the registry sends X-Registry-Supports-Signatures: clients ask it for signatures and not the lookaside", "have the registry's signature extension switched off, or put the proxy in front", false},
}

var agentCauses = []Cause{
	{"agent-down", Broken, "the agent does not answer: every image of a declared scope is refused", "systemctl enable --now touchmark-agent.socket", false},
	{"agent-observing", Open, "the agent observes: it admits what enforcing would refuse", "run touchmark install podman --mode enforce, or take mode: observe out of the policy that is named", false},
	{"agent-reload-failing", Broken, "the files on disk cannot be used: the agent judges by what it read before", "correct the file that the message names", false},
	{"agent-refresh-failing", Warning, "a trust root cannot be refreshed", "see that its repository can be reached", false},
	{"agent-store-failing", Warning, "the agent cannot remember: after a restart, images are judged anew", "look after the directory agent.state", false},
	{"trust-stale", Broken, "a trust root is older than trust.maxStale: nothing it vouches for is admitted", "see that its repository can be reached, or fetch it: touchmark trust fetch", false},
	{"agent-port-taken", Broken, "another user's process listens where the lookaside is asked", "stop it, or give the agent another port: agent.listen in config.yaml", false},
	{"agent-not-listening", Broken, "the agent runs, and nothing listens where the lookaside is asked", "let agent.listen of config.yaml be what registries.d names: " + reinstall, false},
	{"notice", Warning, "the agent has something to say about its rules, such as an exception that ends", "read it", false},
	{"clock-behind", Broken, "the clock is behind the making of the host's key: its countersignatures are not valid yet", "set the clock, and keep it set", false},
	{"clock-unsynchronised", Warning, "the kernel says that nothing keeps the clock", "run a time service", false},
}

var fileCauses = []Cause{
	{"config-missing", Broken, "there is no config.yaml: nothing says what this host is to enforce", reinstall, true},
	{"config-unusable", Broken, "config.yaml cannot be used", "correct the line that the message names", false},
	{"config-writable", Open, "others than its owner can write config.yaml, a policy or a trust root: they decide what is admitted", "give the files to root, with mode 0644", true},
	{"key-readable", Open, "others than the agent can read the host's secret key: they sign what they like", "make it 0600, and a new key, since the old one may be known: touchmark agent key rotate", true},
	{"key-missing", Broken, "the agent's secret key is not there", reinstall, true},
	{"policies-missing", Broken, "there are no policies: the agent refuses every image", "write one: touchmark policy learn", false},
	{"state-writable", Warning, "others can write the agent's state: they can make it forget, though not remember what was not so, since it takes no file of another user's", "give the directory to the agent's user, with mode 0700", true},
}

var bypassCauses = []Cause{
	{"shell-bypass", Open, "a shell's start file has an alias, a function or a command that sets another policy.json or none", "take the line out", false},
	{"unit-bypass", Open, "a systemd unit pulls with another policy.json or none", "take the flag out of the unit", false},
	{"quadlet-bypass", Open, "a quadlet pulls with another policy.json or none", "take the flag out of the quadlet", false},
	{"cron-bypass", Open, "a cron job pulls with another policy.json or none", "take the flag out of the job", false},
	{"wrapper-bypass", Open, "a script that stands before the client in PATH sets another policy.json or none", "take it out of PATH", false},
	{"environment-policy", Open, "the environment names another policy.json (CONTAINERS_POLICY_JSON, read by releases of 2026 and later)", "take the variable out", false},
	{"environment-registries", Open, "the environment names another registries.conf, and the proxy is in this one (CONTAINERS_REGISTRIES_CONF, REGISTRIES_CONFIG_PATH)", "take the variable out", false},
	{"remote-service", Warning, "podman sends its commands to another host or machine: that one's configuration counts", "run touchmark doctor podman there", false},
	{"crio-policy", Open, "CRI-O is told to read another policy.json, and that accepts", "take signature_policy out of crio.conf, or let the file be one that requires the host's key", false},
	{"crio-namespace-policy", Open, "CRI-O has a policy.json for a Kubernetes namespace, and that accepts", "take the file out of signature_policy_dir, or let it require the host's key", false},
}

var userCauses = []Cause{
	{"user-policy", Open, "a user's own policy.json replaces the system's, and accepts", "take the file out, or run touchmark install podman as that user", false},
	{"user-policy-own", Warning, "a user's own policy.json replaces the system's; it refuses, too", "run touchmark doctor podman as that user", false},
	{"user-lookaside", Broken, "a user's own registries.d replaces the system's and does not lead to the agent: every image is refused to that user", "take the directory out, or run touchmark install podman as that user", false},
	{"user-registries", Open, "a user's own registries.conf replaces the system's, which leads to the proxy", "take the file out, or require the host's key for the scope, which no registries.conf changes", false},
}

var hostCauses = []Cause{
	{"store-writable", Open, "an additional image store can be written by others: its images run without ever being pulled", "give the store to root, with mode 0755", true},
	{"store-additional", Warning, "images in an additional store run without ever being pulled", "judge them: touchmark sweep podman", false},
	{"images-unjudged", Warning, "images were here before Touchmark: they run without ever being pulled", "judge them: touchmark sweep podman", false},
	{"docker-present", Warning, "a Docker daemon runs here, and reads no policy.json", "put the proxy in front of its registries", false},
	{"client-missing", Warning, "there is no podman, skopeo, buildah or CRI-O here", "install one, or leave this host alone", false},
	{"unreadable", Broken, "a file or directory that matters could not be read", "run touchmark doctor podman as root", false},
}

var probeCauses = []Cause{
	{"probe-admitted", Open, "an image that must be refused was pulled", "see the other findings; with none, please report it", false},
	{"probe-refused", Broken, "an image that must be admitted was refused", "ask for the reason: touchmark why", false},
	{"probe-failed", Broken, "an image could not be pulled, for another reason than a refusal", "see that it can be reached", false},
}

// cause looks a code up. Codes are written in this package alone, and a test holds that each is known.
func cause(code string) Cause {
	for _, subject := range Catalog() {
		for _, c := range subject.Causes {
			if c.Code == code {
				return c
			}
		}
	}
	return Cause{Code: code, Severity: Broken}
}
