package doctor

import (
	"github.com/touchmark/touchmark/core/doctor"
)

// Catalog is every cause that [Examine] knows, by subject.
func Catalog() doctor.Catalog {
	return doctor.Catalog{
		{Title: "policy.json", Causes: policyCauses},
		{Title: "Keys that policy.json trusts", Causes: keyringCauses},
		{Title: "registries.d", Causes: lookasideCauses},
		{Title: "registries.conf", Causes: registriesCauses},
		{Title: "The agent", Causes: agentCauses},
		{Title: "Touchmark's own files", Causes: fileCauses},
		{Title: "Ways round policy.json", Causes: bypassCauses},
		{Title: "Users of the host", Causes: userCauses},
		{Title: "Storage, and what else pulls", Causes: hostCauses},
		{Title: "What a probe showed", Causes: doctor.ProbeCauses()},
	}
}

const reinstall = "run touchmark install podman"

var policyCauses = []doctor.Cause{
	doctor.Broken.Cause("policy-missing", "there is no policy.json: clients refuse to start a pull", reinstall, true),
	doctor.Broken.Cause("policy-unparsable", "policy.json is not one: clients refuse to start a pull", "correct the line, or restore the file with touchmark uninstall podman", false),
	doctor.Open.Cause("policy-writable", "others than its owner can write policy.json, or replace it", "give the file to root, with mode 0644, and its directories too", true),
	doctor.Open.Cause("default-accepts", "what no scope is about is accepted", reinstall+", or let the default be reject", true),
	doctor.Open.Cause("docker-accepts", "images of every registry that no scope is about are accepted", reinstall+`, or take transports.docker[""] out`, true),
	doctor.Open.Cause("scope-accepts", "a declared scope accepts anything", reinstall, true),
	doctor.Broken.Cause("scope-missing", "a declared scope refuses everything, whatever Touchmark says", reinstall, true),
	doctor.Open.Cause("scope-other-key", "a declared scope demands a signature, but not this host's: Touchmark's policy is not asked", reinstall, true),
	doctor.Open.Cause("namespace-accepts", "a namespace or repository within a declared scope accepts anything", "take the narrower scope out, or let it require the host's key", true),
	doctor.Open.Cause("namespace-other-key", "a namespace or repository within a declared scope demands another signature than this host's", "take the narrower scope out, or let it require the host's key", true),
	doctor.Open.Cause("image-accepts", "one tag or digest within a declared scope accepts anything", "take it out, and use touchmark allow, which expires", true),
	doctor.Open.Cause("wildcard-accepts", "a wildcard scope accepts hosts that are meant to be enforced", "take it out, or let it require the host's key", true),
	doctor.Open.Cause("spelling-accepts", "another name of a declared registry, such as the one with :443, accepts anything", reinstall, true),
	doctor.Open.Cause("undeclared-accepts", "a registry outside of the declared scopes accepts anything, though the default refuses", "take the scope out, or declare it: podman.scopes in config.yaml", false),
	doctor.Open.Cause("identity-fixed", "signedIdentity takes a countersignature for another image as one for this", `use "signedIdentity": {"type": "matchRepository"}`, true),
	doctor.Broken.Cause("identity-exact", "signedIdentity wants a tag in the signature: a countersignature names the repository and the digest", `use "signedIdentity": {"type": "matchRepository"}`, true),
	doctor.Open.Cause("transport-open", "another transport accepts anything: archives and directories are loaded unjudged", "let the transport be reject, or have it on record: touchmark doctor podman --allow-transport", true),
	doctor.Broken.Cause("scope-undeclared", "nothing says which images are to be enforced", "name them in podman.scopes of config.yaml, or with --scope", false),
}

var keyringCauses = []doctor.Cause{
	doctor.Broken.Cause("keyring-missing", "the keyring that policy.json names is not there", reinstall, true),
	doctor.Broken.Cause("keyring-unusable", "the keyring that policy.json names holds no key that can be read", reinstall, true),
	doctor.Broken.Cause("keyring-other", "the keyring that policy.json names does not hold the agent's key", reinstall+"; after a rotation, restart the agent", true),
	doctor.Open.Cause("keyring-extra", "the keyring that policy.json names holds keys that are not the agent's: what they signed gets in unjudged", "remove the other keys; "+reinstall, true),
	doctor.Open.Cause("keyring-writable", "others than its owner can write the keyring: they add a key of their own", "give the file to root, with mode 0644, and its directories too", true),
	doctor.Warning.Cause("key-previous", "a key that was rotated out is still accepted", "restart the agent, so that it signs with the new one, and ten minutes later: touchmark agent key retire", false),
	doctor.Broken.Cause("sigstore-compiled-out", "this host's client cannot verify Sigstore signatures, and policy.json demands them", "use podman.form: openpgp, which every client reads", false),
}

var lookasideCauses = []doctor.Cause{
	doctor.Broken.Cause("registriesd-unparsable", "a file of registries.d is none: clients refuse to start a pull", "correct the line", false),
	doctor.Broken.Cause("registriesd-clash", "two files of registries.d say something about one namespace, or both have default-docker: clients refuse to start a pull", "keep one of them", false),
	doctor.Warning.Cause("registriesd-writable", "others than their owner can write registries.d: they can have every image refused", "give the files to root, with mode 0644", true),
	doctor.Broken.Cause("lookaside-missing", "a declared scope requires the host's key, but no lookaside leads to the agent: every image is refused", reinstall, true),
	doctor.Broken.Cause("lookaside-overridden", "a more specific entry leads elsewhere than to the agent: its images are refused", "take the entry's lookaside out; the agent chains it: "+reinstall, true),
	doctor.Broken.Cause("lookaside-elsewhere", "the lookaside of a declared scope leads elsewhere than to the agent", reinstall, true),
	doctor.Broken.Cause("lookaside-other-registry", "the lookaside asks the agent about another registry than that of its entry", reinstall, true),
	doctor.Warning.Cause("lookaside-not-loopback", "the lookaside is asked by plain HTTP across the network: who sits on the path can refuse, and replay for ten minutes", "let the agent listen on loopback", false),
	doctor.Warning.Cause("lookaside-for-everything", "default-docker leads to the agent: it is asked about images that are not to be enforced", "set the lookaside for the declared scopes only: "+reinstall, false),
	doctor.Warning.Cause("staging-missing", "there is no lookaside-staging: podman push --sign-by tries to write its signatures to the agent", reinstall, true),
	doctor.Broken.Cause("attachments-off", "policy.json wants Sigstore signatures from the registry, and use-sigstore-attachments is not set for it", "set use-sigstore-attachments: true for the registry in registries.d", false),
}

var registriesCauses = []doctor.Cause{
	doctor.Broken.Cause("registries-unparsable", "registries.conf is not one: clients refuse to start a pull", "correct the line", false),
	doctor.Warning.Cause("registries-writable", "others than their owner can write registries.conf: they decide where images come from", "give the files to root, with mode 0644", true),
	doctor.Open.Cause("proxy-as-mirror", "the proxy is a mirror: where it refuses, the client goes on to the registry itself", "make the proxy the registry's location: touchmark install podman --proxy", true),
	doctor.Open.Cause("proxy-bypassed", "policy.json leaves the scope to the proxy, and images are fetched from somewhere else", "make the proxy the registry's location: touchmark install podman --proxy", true),
	doctor.Broken.Cause("rewrite-ambiguous", "a rule leads to its location from any number of names: the agent cannot tell which image is meant", "give the rule's hosts a prefix each", false),
	doctor.Warning.Cause("registry-insecure", "a registry across the network is asked without TLS", "take insecure = true out", false),
	doctor.Warning.Cause("registry-blocked", "a declared scope is blocked: nothing of it can be pulled", "take blocked = true out, or the scope", false),
	doctor.Open.Cause("alias-unjudged", "a short name leads to an image that nothing judges", "take the alias out, or declare where it leads to", false),
	doctor.Open.Cause("search-unjudged", "short names are looked for in a registry that nothing judges", "take the registry out of unqualified-search-registries, or declare it", false),
	doctor.Broken.Cause("signatures-extension", "the registry sends X-Registry-Supports-Signatures: clients ask it for signatures and not the lookaside", "have the registry's signature extension switched off, or put the proxy in front", false),
}

var agentCauses = []doctor.Cause{
	doctor.Broken.Cause("agent-down", "the agent does not answer: every image of a declared scope is refused", "systemctl enable --now touchmark-agent.socket", false),
	doctor.Open.Cause("agent-observing", "the agent observes: it admits what enforcing would refuse", "run touchmark install podman --mode enforce, or take mode: observe out of the policy that is named", false),
	doctor.Broken.Cause("agent-reload-failing", "the files on disk are not in use: the agent judges by what it read before", "correct the file that the message names, or restart the agent where it says so", false),
	doctor.Warning.Cause("agent-refresh-failing", "a trust root cannot be refreshed", "see that its repository can be reached", false),
	doctor.Warning.Cause("agent-store-failing", "the agent cannot remember: after a restart, images are judged anew", "look after the directory agent.state", false),
	doctor.Broken.Cause("trust-stale", "a trust root is older than trust.maxStale: nothing it vouches for is admitted", "see that its repository can be reached, or fetch it: touchmark trust fetch", false),
	doctor.Broken.Cause("agent-port-taken", "another user's process listens where the lookaside is asked", "stop it, or give the agent another port: agent.listen in config.yaml", false),
	doctor.Broken.Cause("agent-not-listening", "the agent runs, and nothing listens where the lookaside is asked", "let agent.listen of config.yaml be what registries.d names: "+reinstall, false),
	doctor.Warning.Cause("notice", "the agent has something to say about its rules, such as an exception that ends", "read it", false),
	doctor.Broken.Cause("clock-behind", "the clock is behind the making of the host's key: its countersignatures are not valid yet", "set the clock, and keep it set", false),
	doctor.Warning.Cause("clock-unsynchronised", "the kernel says that nothing keeps the clock", "run a time service", false),
}

var fileCauses = []doctor.Cause{
	doctor.Broken.Cause("config-missing", "there is no config.yaml: nothing says what this host is to enforce", reinstall, true),
	doctor.Broken.Cause("config-unusable", "config.yaml cannot be used", "correct the line that the message names", false),
	doctor.Open.Cause("config-writable", "others than its owner can write config.yaml, a policy or a trust root: they decide what is admitted", "give the files to root, with mode 0644", true),
	doctor.Open.Cause("key-readable", "others than the agent can read the host's secret key: they sign what they like", "make it 0600, and a new key, since the old one may be known: touchmark agent key rotate", true),
	doctor.Broken.Cause("key-missing", "the agent's secret key is not there", reinstall, true),
	doctor.Broken.Cause("policies-missing", "there are no policies: the agent refuses every image", "write one: touchmark policy learn", false),
	doctor.Warning.Cause("state-writable", "others can write the agent's state: they can make it forget, though not remember what was not so, since it takes no file of another user's", "give the directory to the agent's user, with mode 0700", true),
}

var bypassCauses = []doctor.Cause{
	doctor.Open.Cause("shell-bypass", "a shell's start file has an alias, a function or a command that sets another policy.json or none", "take the line out", false),
	doctor.Open.Cause("unit-bypass", "a systemd unit pulls with another policy.json or none", "take the flag out of the unit", false),
	doctor.Open.Cause("quadlet-bypass", "a quadlet pulls with another policy.json or none", "take the flag out of the quadlet", false),
	doctor.Open.Cause("cron-bypass", "a cron job pulls with another policy.json or none", "take the flag out of the job", false),
	doctor.Open.Cause("wrapper-bypass", "a script that stands before the client in PATH sets another policy.json or none", "take it out of PATH", false),
	doctor.Open.Cause("environment-policy", "the environment names another policy.json (CONTAINERS_POLICY_JSON, read by releases of 2026 and later)", "take the variable out", false),
	doctor.Open.Cause("environment-registries", "the environment names another registries.conf, and the proxy is in this one (CONTAINERS_REGISTRIES_CONF, REGISTRIES_CONFIG_PATH)", "take the variable out", false),
	doctor.Warning.Cause("remote-service", "podman sends its commands to another host or machine: that one's configuration counts", "run touchmark doctor podman there", false),
	doctor.Open.Cause("crio-policy", "CRI-O is told to read another policy.json, and that accepts", "take signature_policy out of crio.conf, or let the file be one that requires the host's key", false),
	doctor.Open.Cause("crio-namespace-policy", "CRI-O has a policy.json for a Kubernetes namespace, and that accepts", "take the file out of signature_policy_dir, or let it require the host's key", false),
}

var userCauses = []doctor.Cause{
	doctor.Open.Cause("user-policy", "a user's own policy.json replaces the system's, and accepts", "take the file out, or run touchmark install podman as that user", false),
	doctor.Warning.Cause("user-policy-own", "a user's own policy.json replaces the system's; it refuses, too", "run touchmark doctor podman as that user", false),
	doctor.Broken.Cause("user-lookaside", "a user's own registries.d replaces the system's and does not lead to the agent: every image is refused to that user", "take the directory out, or run touchmark install podman as that user", false),
	doctor.Open.Cause("user-registries", "a user's own registries.conf replaces the system's, which leads to the proxy", "take the file out, or require the host's key for the scope, which no registries.conf changes", false),
}

var hostCauses = []doctor.Cause{
	doctor.Open.Cause("store-writable", "an additional image store can be written by others: its images run without ever being pulled", "give the store to root, with mode 0755", true),
	doctor.Warning.Cause("store-additional", "images in an additional store run without ever being pulled", "judge them: touchmark sweep podman", false),
	doctor.Warning.Cause("images-unjudged", "images were here before Touchmark: they run without ever being pulled", "judge them: touchmark sweep podman", false),
	doctor.Warning.Cause("docker-present", "a Docker daemon runs here, and reads no policy.json", "put the proxy in front of its registries", false),
	doctor.Warning.Cause("client-missing", "there is no podman, skopeo, buildah or CRI-O here", "install one, or leave this host alone", false),
	doctor.Broken.Cause("unreadable", "a file or directory that matters could not be read", "run touchmark doctor podman as root", false),
}
