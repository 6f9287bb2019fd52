package doctor

import "github.com/touchmark/touchmark/core/doctor"

// Catalog is every cause that [Examine] and [Probe] know, by subject.
func Catalog() doctor.Catalog {
	return doctor.Catalog{
		{Title: "The directory of verifiers", Causes: directoryCauses()},
		{Title: "The verifier", Causes: verifierCauses()},
		{Title: "containerd's configuration", Causes: configCauses()},
		{Title: "CRI", Causes: criCauses()},
		{Title: "The running containerd", Causes: daemonCauses()},
		{Title: "NRI", Causes: nriCauses()},
		{Title: "hosts.toml and the proxy", Causes: proxyCauses()},
		{Title: "The agent", Causes: agentCauses()},
		{Title: "Touchmark's own files", Causes: fileCauses()},
		{Title: "What else pulls", Causes: otherCauses()},
		{Title: "What a probe showed", Causes: doctor.ProbeCauses()},
	}
}

const (
	reinstall = "run touchmark install containerd"
	restart   = "restart containerd"
	toRoot    = "give it to root, with mode 0755, and the directories above it too"
)

func directoryCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Open.Cause("bindir-missing", "bin_dir does not exist: containerd admits every image, without a word", reinstall, true),
		doctor.Open.Cause("bindir-empty", "bin_dir is empty: containerd admits every image", reinstall, true),
		doctor.Open.Cause("bindir-unset", `bin_dir is "", which does not exist: containerd admits every image`, reinstall, true),
		doctor.Open.Cause("bindir-relative", "bin_dir is relative: which directory it is depends on where containerd was started, and none at all admits every image", "write an absolute path: "+reinstall, true),
		doctor.Open.Cause("bindir-elsewhere", "Touchmark's verifier lies in another directory than the one that containerd reads", reinstall, true),
		doctor.Open.Cause("bindir-writable", "others can write bin_dir: they replace the verifier", toRoot, true),
		doctor.Open.Cause("bindir-above-writable", "others can write a directory above bin_dir: they replace it by an empty one", toRoot, true),
		doctor.Broken.Cause("bindir-not-directory", "bin_dir is no directory: every pull is blocked", "move it away, and "+reinstall, true),
		doctor.Broken.Cause("bindir-not-executable", "a file in bin_dir may not be executed: every pull is blocked", "move it elsewhere", true),
		doctor.Broken.Cause("bindir-not-program", "a file in bin_dir is no program: every pull is blocked", "move it elsewhere", true),
		doctor.Broken.Cause("bindir-subdirectory", "there is a directory in bin_dir, which containerd tries to execute: every pull is blocked", "move it elsewhere", true),
		doctor.Broken.Cause("bindir-dangling", "a link in bin_dir leads nowhere: every pull is blocked", "remove the link, or install what it leads to", true),
		doctor.Broken.Cause("bindir-noexec", "bin_dir, or a program in it, lies on a file system that is mounted noexec: every pull is blocked", "remount it with exec, or choose another bin_dir", false),
		doctor.Warning.Cause("bindir-foreign", "there are other programs in bin_dir: each image has to pass all of them", "see that they belong there", false),
	}
}

func verifierCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Open.Cause("verifier-missing", "Touchmark's verifier is not among the programs of bin_dir", reinstall, true),
		doctor.Open.Cause("verifier-impostor", "what is called touchmark-containerd in bin_dir is another program", reinstall, true),
		doctor.Open.Cause("verifier-cut", "max_verifiers is so small that containerd skips Touchmark's verifier, whose name comes later", reinstall+", or raise max_verifiers", true),
		doctor.Open.Cause("verifier-writable", "others can write the verifier's program", toRoot, true),
		doctor.Open.Cause("touchmark-writable", "others can write the program touchmark, which decides where no agent answers", toRoot, true),
		doctor.Open.Cause("path-writable", "others can write a directory of containerd's PATH in which touchmark is looked for", "give it to root, or install touchmark beside the verifier's program", true),
		doctor.Warning.Cause("verifier-version", "the verifier is of another version than this program", reinstall, true),
		doctor.Warning.Cause("touchmark-missing", "touchmark is neither beside the verifier's program nor in containerd's PATH: without the agent nothing is admitted", "install it beside the verifier's program", false),
		doctor.Open.Cause("environment-config", "containerd's environment names another config.yaml (TOUCHMARK_CONFIG): the verifier asks another agent", "take the variable out of containerd's unit, and "+restart, false),
	}
}

func configCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Open.Cause("release-without-verifiers", "containerd before 2.0 has no image verifiers", "upgrade, or put the proxy in front: touchmark install containerd --proxy", false),
		doctor.Open.Cause("verifier-disabled", "disabled_plugins names the image verifiers: containerd asks nobody", "take io.containerd.image-verifier.v1.bindir out of disabled_plugins", true),
		doctor.Open.Cause("verifiers-none", "max_verifiers is 0: containerd asks nobody", reinstall, true),
		doctor.Broken.Cause("timeout-zero", "per_verifier_timeout is 0 or less: every pull is blocked", reinstall, true),
		doctor.Broken.Cause("timeout-tiny", "per_verifier_timeout is shorter than a second: verifiers are killed before they can decide", reinstall, true),
		doctor.Warning.Cause("timeout-short", "per_verifier_timeout is shorter than the verifier's own nine seconds: who waits too long is killed without a reason", reinstall, true),
		doctor.Broken.Cause("transfer-disabled", "disabled_plugins names the transfer service: neither ctr nor CRI can pull", "take io.containerd.transfer.v1.local out of disabled_plugins", true),
		doctor.Broken.Cause("containerd-config-unusable", "containerd's configuration cannot be used: it would not start again", "correct what the message names", false),
		doctor.Open.Cause("containerd-config-writable", "others can write containerd's configuration", "give the files to root, with mode 0644, and their directories too", true),
		doctor.Open.Cause("dropin-not-imported", "Touchmark's drop-in is not imported by config.toml", reinstall, true),
		doctor.Open.Cause("dropin-overridden", "a later file overrides Touchmark's drop-in", "take the setting out of the later file", false),
		doctor.Warning.Cause("import-unmatched", "a pattern of imports, which is not just a place for drop-ins, matches no file", "see whether a file is missing, or take the pattern out", false),
	}
}

func criCauses() []doctor.Cause {
	const local = ": CRI pulls by itself, without verifiers"
	return []doctor.Cause{
		doctor.Open.Cause("release-cri-local", "CRI of this release pulls by itself, without verifiers", "upgrade to containerd 2.1 or later, or put the proxy in front", false),
		doctor.Open.Cause("cri-local-pull", "use_local_image_pull is true"+local, reinstall, true),
		doctor.Open.Cause("cri-snapshot-annotations", "disable_snapshot_annotations is false"+local, reinstall, true),
		doctor.Open.Cause("cri-discard-layers", "discard_unpacked_layers is true"+local, reinstall, true),
		doctor.Open.Cause("cri-mirrors", "registry.mirrors has entries"+local, "write them to hosts.toml and take them out: "+reinstall, true),
		doctor.Open.Cause("cri-configs", "registry.configs has entries"+local, "write them to hosts.toml and take them out: "+reinstall, true),
		doctor.Open.Cause("cri-auths", "registry.auths has entries"+local, "use imagePullSecrets or a credential provider, and take them out: "+reinstall, true),
		doctor.Open.Cause("cri-concurrent-downloads", "CRI's max_concurrent_downloads is not 3"+local, "set it for the transfer service: "+reinstall, true),
		doctor.Open.Cause("cri-sync-fs", "image_pull_with_sync_fs is true"+local, reinstall, true),
		doctor.Broken.Cause("cri-invalid", "CRI's configuration is none: its image service does not start", "correct what the message names", false),
	}
}

func daemonCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Broken.Cause("containerd-down", "containerd does not answer", "start it", false),
		doctor.Broken.Cause("config-changed", "containerd's configuration was changed since containerd was started: what it does is another thing than what the files say", restart, true),
		doctor.Broken.Cause("config-read-otherwise", "containerd's own program reads its configuration in another way than this doctor", "use a touchmark that knows this release of containerd, and go by --probe until then", false),
		doctor.Warning.Cause("config-elsewhere", "containerd was started with another configuration than the one that Touchmark is told of", "name it in containerd.config of config.yaml", false),
		doctor.Open.Cause("verifier-not-loaded", "the running containerd has no image verifiers, whatever its configuration says", restart+"; if that does not help, its log says why", true),
		doctor.Broken.Cause("transfer-failed", "the transfer service could not be loaded: images cannot be pulled with verifiers", "see the message, and containerd's log", false),
		doctor.Open.Cause("containerd-socket-writable", "others than root may talk to containerd: they pull what they like, without verifiers", "take the group out of [grpc] in containerd's configuration, and "+restart, false),
		doctor.Warning.Cause("images-unjudged", "there are images on the node that nobody judged by what counts today: they run without being pulled", "judge them: touchmark sweep containerd --label, which removes what is refused with --remove", false),
	}
}

func nriCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Open.Cause("nri-disabled", "containers are to be judged when they are made (nri: true), and containerd's NRI is disabled", reinstall, true),
		doctor.Open.Cause("nri-not-enforced", "containers are to be judged when they are made, and NRI's default validator is not enabled: without the plugin everything is made", reinstall, true),
		doctor.Open.Cause("nri-not-required", "containers are to be judged when they are made, and the validator does not require Touchmark's plugin: without it everything is made", reinstall, true),
		doctor.Warning.Cause("nri-tolerated", "a pod's annotation lets containers be made without the plugin (tolerate_missing_plugins_annotation)", "take the setting out, and let only those you trust set annotations", false),
		doctor.Broken.Cause("nri-release", "containerd before 2.4 does not tell NRI's plugins which image a container is made from: every container is refused", "upgrade containerd, or take nri: true out of config.yaml", false),
		doctor.Broken.Cause("nri-not-connected", "the agent is not connected to containerd's NRI: every container is refused", "see the message, and whether containerd's NRI listens there", false),
		doctor.Broken.Cause("nri-no-connections", "NRI takes no connections (disable_connections): the agent's plugin cannot connect", "take disable_connections out of containerd's configuration, and "+restart, false),
	}
}

func proxyCauses() []doctor.Cause {
	const behind = "name the proxy as server, without another host, as touchmark install containerd --proxy does"
	return []doctor.Cause{
		doctor.Open.Cause("proxy-as-mirror", "the proxy is a mirror: where it refuses, containerd goes on to the next host", behind, false),
		doctor.Open.Cause("proxy-missing", "no hosts.toml leads to the proxy for a registry", behind, false),
		doctor.Open.Cause("proxy-overridden", "a directory that comes earlier in config_path has another hosts.toml for the registry", "take the earlier one out", false),
		doctor.Open.Cause("proxy-bypassed", "_default leads to the proxy, and a registry's own directory elsewhere", "take the directory out, or name the proxy in it", false),
		doctor.Open.Cause("proxy-path-list", "config_path names several directories, of which containerd 2 reads none in the pulls that ask verifiers: the proxy is passed by", "let config_path name one directory: "+reinstall, true),
		doctor.Open.Cause("proxy-unusable", "the hosts.toml that leads to the proxy cannot be used: containerd logs that, and asks the registry itself", "correct what the message names", false),
		doctor.Broken.Cause("hosts-unusable", "a hosts.toml cannot be used: containerd asks the registry itself, and the verifier blocks the pull", "correct what the message names", false),
		doctor.Warning.Cause("hosts-writable", "others can write hosts.toml: they decide where images come from", "give the file to root, with mode 0644, and its directory too", true),
		doctor.Warning.Cause("hosts-path-list", "config_path names several directories, of which containerd 2 reads none in the pulls that ask verifiers: hosts.toml is of no effect", "let config_path name one directory: "+reinstall, true),
	}
}

func agentCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Broken.Cause("agent-down", "the agent does not answer, and nothing else may decide: every pull is blocked", "systemctl enable --now touchmark-agent.socket", false),
		doctor.Warning.Cause("agent-down-standalone", "the agent does not answer: each pull is decided by a process of its own, which remembers nothing", "systemctl enable --now touchmark-agent.socket", false),
		doctor.Open.Cause("agent-foreign", "the agent's socket is another user's, who decides what is admitted", "stop what listens there, and start the agent as root", false),
		doctor.Open.Cause("agent-socket-writable", "others can write a directory above the agent's socket: they put their own there", "give the directory to root, with mode 0755", true),
		doctor.Open.Cause("agent-observing", "the agent observes: it admits what enforcing would refuse", "take mode: observe out of the policy that is named, and containerd.observe out of config.yaml", false),
		doctor.Broken.Cause("agent-reload-failing", "the files on disk are not in use: the agent judges by what it read before", "correct the file that the message names, or restart the agent where it says so", false),
		doctor.Warning.Cause("agent-refresh-failing", "a trust root cannot be refreshed", "see that its repository can be reached", false),
		doctor.Warning.Cause("agent-store-failing", "the agent cannot remember: after a restart, images are judged anew", "look after the directory agent.state", false),
		doctor.Broken.Cause("trust-stale", "a trust root is older than trust.maxStale: nothing it vouches for is admitted", "see that its repository can be reached, or fetch it: touchmark trust fetch", false),
		doctor.Warning.Cause("notice", "the agent has something to say about its rules, such as an exception that ends", "read it", false),
		doctor.Warning.Cause("clock-unsynchronised", "the kernel says that nothing keeps the clock", "run a time service", false),
	}
}

func fileCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Open.Cause("observing", "config.yaml has containerd.observe: everything is admitted", "run touchmark install containerd --mode enforce", false),
		doctor.Broken.Cause("config-missing", "there is no config.yaml", reinstall, true),
		doctor.Broken.Cause("config-unusable", "config.yaml cannot be used: the verifier blocks every pull", "correct the line that the message names", false),
		doctor.Open.Cause("config-writable", "others can write config.yaml", "give it to root, with mode 0644, and the directories above it too", true),
		doctor.Open.Cause("policy-writable", "others can write the policies", "give them to root, with mode 0644, and their directories too", true),
		doctor.Open.Cause("trust-writable", "others can write the trust roots", "give them to root, with mode 0644, and their directories too", true),
		doctor.Broken.Cause("policies-missing", "there are no policies: every image is refused", "write one: touchmark policy learn", false),
		doctor.Broken.Cause("policies-unusable", "the policies cannot be used: every image is refused", "correct what the message names; touchmark policy check", false),
		doctor.Open.Cause("policy-passes", "a policy admits every image of a registry, or of all, without a signature", "name the repositories that need none", false),
		doctor.Warning.Cause("state-writable", "others can write the agent's state: they can make it forget", "give the directory to root, with mode 0700", true),
		doctor.Warning.Cause("credentials-readable", "others can read the registry credentials", "make the file 0600", true),
		doctor.Broken.Cause("credentials-unusable", "the file with registry credentials cannot be used", "correct the line that the message names", false),
		doctor.Broken.Cause("unreadable", "a file or directory that matters could not be read", "run touchmark doctor containerd as root", false),
	}
}

func otherCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Open.Cause("kubelet-elsewhere", "the kubelet pulls from another image service than this containerd", "take imageServiceEndpoint out of the kubelet's configuration or flags, or examine what it names", false),
		doctor.Warning.Cause("containerd-other", "there is another containerd on this node", "examine it, too: touchmark doctor containerd --address", false),
		doctor.Warning.Cause("docker-shared", "Docker works with this containerd, and pulls without verifiers", "put the proxy in front of its registries", false),
		doctor.Warning.Cause("docker-own", "Docker runs here with a containerd of its own, which asks no verifier", "put the proxy in front of its registries", false),
		doctor.Warning.Cause("nerdctl-present", "nerdctl is here, and pulls without verifiers", "leave it to root", false),
		doctor.Warning.Cause("buildkit-present", "BuildKit is here, and pulls without verifiers", "put the proxy in front of its registries", false),
	}
}
