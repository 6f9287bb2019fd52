package doctor

import "github.com/touchmark/touchmark/core/doctor"

// Catalog is every cause that [Examine] and [Probe] know, by subject.
func Catalog() doctor.Catalog {
	return doctor.Catalog{
		{Title: "proxy.yaml and the files that it names", Causes: fileCauses()},
		{Title: "Secrets", Causes: secretCauses()},
		{Title: "Policies", Causes: policyCauses()},
		{Title: "Trust roots", Causes: trustCauses()},
		{Title: "The proxy's certificate", Causes: certificateCauses()},
		{Title: "Who reaches it", Causes: exposureCauses()},
		{Title: "Upstream registries", Causes: upstreamCauses()},
		{Title: "Cache and decision log", Causes: storageCauses()},
		{Title: "Other replicas", Causes: peerCauses()},
		{Title: "The running proxy", Causes: runningCauses()},
		{Title: "What a probe showed", Causes: doctor.ProbeCauses()},
	}
}

const (
	toRoot  = "give it to the user that the proxy runs as, with mode 0644, and the directories above it too"
	correct = "correct what the message names"
	private = "make the file 0600"
)

func fileCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Broken.Cause("config-missing", "there is no proxy.yaml", "name it: --config", false),
		doctor.Broken.Cause("config-unusable", "proxy.yaml cannot be used: a running proxy goes by what it read before, and none starts", "correct the line that the message names", false),
		doctor.Open.Cause("config-writable", "others can write proxy.yaml: they decide what is judged by what", toRoot, true),
		doctor.Open.Cause("policy-writable", "others can write the policies", toRoot, true),
		doctor.Open.Cause("trust-writable", "others can write the trust roots", toRoot, true),
		doctor.Open.Cause("tls-writable", "others can write the certificate or its key: clients can be shown another proxy", toRoot, true),
		doctor.Warning.Cause("login-writable", "others can write what clients are known by: they may read what was admitted", toRoot, true),
		doctor.Warning.Cause("upstream-writable", "others can write by what the upstream is known, or the proxy's credentials there: they can have images refused", toRoot, true),
		doctor.Warning.Cause("state-writable", "others can write what was seen of a trust root, or by what its repository is known: they can hold its changes back", toRoot, true),
		doctor.Broken.Cause("logins-unusable", "what clients are known by cannot be used: the proxy does not start", correct, false),
		doctor.Broken.Cause("unreadable", "a file or directory that matters could not be read", "run touchmark doctor proxy as root", false),
	}
}

func secretCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Open.Cause("tls-key-readable", "others can read the key of the proxy's certificate: they can stand in its place", private+", and make a new one: it may be known", true),
		doctor.Open.Cause("countersign-key-readable", "others can read the key that the proxy countersigns with: what they sign, clients take for admitted", private+", and make a new one: it may be known", true),
		doctor.Broken.Cause("peers-secret-readable", "others can read the replicas' secret: the proxy does not start", private+", and make a new one: it may be known", true),
		doctor.Warning.Cause("password-readable", "others can read the hashes of clients' passwords", private, true),
		doctor.Warning.Cause("credentials-readable", "others can read the proxy's credentials for an upstream", private, true),
	}
}

func policyCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Open.Cause("registry-observes", "a registry is only observed: what the policy refuses is served", "take mode: observe out of proxy.yaml", false),
		doctor.Open.Cause("policy-observes", "a policy only observes: what it refuses is served", "take mode: observe out of the policy that is named", false),
		doctor.Open.Cause("unmatched-admitted", "images that no policy is about are served", "take unmatched out of the Enforcement document, and write policies for what is to be served", false),
		doctor.Open.Cause("policy-passes", "a policy admits every image of a registry, or of all, without a signature", "name the repositories that need none", false),
		doctor.Broken.Cause("policies-missing", "there are no policies: every image is refused", "write one: touchmark policy learn", false),
		doctor.Broken.Cause("policies-unusable", "the policies cannot be used: a running proxy goes by what it read before, and none starts", correct+"; touchmark policy check", false),
		doctor.Warning.Cause("notice", "the policies have something to say, such as an exception that ends", "read it", false),
	}
}

func trustCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Broken.Cause("trust-unusable", "a trust root cannot be used", correct+"; or fetch it: touchmark trust fetch", false),
		doctor.Broken.Cause("trust-unseen", "nothing is there of a trust root that is to be followed: the proxy does not start before it can reach the repository", "see that it can be reached from here", false),
		doctor.Broken.Cause("trust-ended", "a trust root has ended: nothing new can be verified by it", "fetch it: touchmark trust fetch; or see that its repository can be reached", false),
		doctor.Warning.Cause("trust-expired", "the metadata of a trust root that is followed has expired, and is still used until maxStale is over", "see that its repository can be reached, and renews its metadata", false),
		doctor.Warning.Cause("trust-refresh-failing", "a trust root that is followed could not be refreshed for three hours", "see the proxy's log, and that the repository can be reached from here", false),
		doctor.Warning.Cause("trust-ends", "a trust root ends within 14 days", "fetch it: touchmark trust fetch", false),
	}
}

func certificateCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Broken.Cause("tls-unusable", "there is no certificate or no key in the file: the proxy does not start", correct, false),
		doctor.Broken.Cause("tls-mismatch", "the certificate and the key don't belong together: the one before is served, and no proxy starts", "put both in place", false),
		doctor.Broken.Cause("tls-ended", "the certificate is not good now: clients don't talk to the proxy", "renew it; it is read again by itself", false),
		doctor.Warning.Cause("tls-ends", "the certificate ends within 14 days", "renew it; it is read again by itself", false),
		doctor.Broken.Cause("tls-names", "the certificate does not name a host by which clients address a registry", "have it name every entry of hosts", false),
	}
}

func exposureCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Warning.Cause("plain-http", "others than this machine reach the proxy by plain HTTP: who sits on the path can put other images in the place of tags", "set tls, or see that something else encrypts it", false),
		doctor.Warning.Cause("anonymous-reads", "everybody reads everything that is admitted, with the proxy's credentials", "have clients log in: auth in proxy.yaml", false),
		doctor.Warning.Cause("page-anonymous", "everybody sees the page with all decisions: what is pulled, by whom", "take page: true from the rule", false),
		doctor.Warning.Cause("metrics-exposed", "others than this machine reach the metrics, which say how much is pulled from where", "listen on loopback, or see that only Prometheus gets there", false),
		doctor.Warning.Cause("metrics-missing", "the proxy has no metrics: whether it runs by these files cannot be asked", "set metrics.listen, on loopback", false),
	}
}

func upstreamCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Warning.Cause("upstream-http", "an upstream across the network is asked by plain HTTP: who sits on the path has images refused, and reads the proxy's credentials", "use https", false),
		doctor.Broken.Cause("upstream-unreachable", "an upstream does not answer (--network)", "see that it can be reached from here", false),
		doctor.Broken.Cause("upstream-unauthorized", "an upstream does not take the proxy's credentials (--network)", "set other credentials for the registry", false),
		doctor.Broken.Cause("upstream-token-host", "an upstream sends the proxy to a token service that is not allowed for it (--network)", "if it is the registry's own, name it in tokenHosts", false),
	}
}

func storageCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Warning.Cause("cache-missing", "the cache's directory is not there", "start the proxy, which makes it; or mount its disk", false),
		doctor.Broken.Cause("cache-unwritable", "the cache's directory cannot be written: the proxy does not start", "see that it is a directory, on a disk that can be written", false),
		doctor.Warning.Cause("cache-writable", "others can write the cache: its blobs are checked each time, but they can have images refused", "give it to the user that the proxy runs as, with mode 0700", true),
		doctor.Warning.Cause("cache-full", "the disk of the cache is full: nothing new is kept", "make room, or make cache.size smaller", false),
		doctor.Broken.Cause("decisions-unwritable", "the decision log cannot be written: the proxy does not start, or decides without a trace", "see that its directory is there, on a disk that can be written", false),
		doctor.Warning.Cause("decisions-readable", "others can read who pulled what", private, true),
		doctor.Warning.Cause("decisions-dropped", "decisions are missing in the decision log", "see its disk, and the proxy's log", false),
	}
}

func peerCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Broken.Cause("peers-secret-unusable", "the replicas' secret cannot be used: the proxy does not start", correct, false),
		doctor.Warning.Cause("peers-http", "replicas ask each other by plain HTTP: who sits on the path reads the names of images", "use https addresses, or a network of their own", false),
		doctor.Warning.Cause("peers-silent", "another replica does not answer as one (--network): pulls behind a load balancer fail more often", "see that it runs, and can be reached from here", false),
		doctor.Warning.Cause("peers-secret-differs", "another replica (--network), or the running proxy itself, does not go by the secret of the file: pulls behind a load balancer fail more often", "give all replicas the same secret, and restart them; see that their clocks agree", false),
		doctor.Warning.Cause("peers-closed", "nothing listens where the other replicas ask this one", "restart the proxy, which listens there from its start on", false),
	}
}

func runningCauses() []doctor.Cause {
	return []doctor.Cause{
		doctor.Broken.Cause("proxy-down", "the proxy does not answer: nothing can be pulled", "start it; its log says why it does not", false),
		doctor.Broken.Cause("proxy-authority-unknown", "the proxy's certificate, under the URL that clients use, is of no authority that is known here", "install the authority at the clients, and name it: --ca", false),
		doctor.Open.Cause("proxy-foreign", "something else answers where the proxy ought to", "stop what listens there, and start the proxy", false),
		doctor.Broken.Cause("proxy-not-ready", "the proxy runs, and says that clients should not be sent to it", "see the message", false),
		doctor.Broken.Cause("proxy-reload-failed", "the files on disk cannot be used: the proxy goes by what it read before", "correct what its log names; some fields take a restart", false),
		doctor.Broken.Cause("proxy-outdated", "the proxy goes by other files than those on disk: what it does is another thing than what they say", "wait ten seconds; if that does not help, restart it, with this file", false),
		doctor.Broken.Cause("proxy-certificate-old", "the proxy shows another certificate than the file has", "see its log; if it does not say why, something else listens there", false),
		doctor.Warning.Cause("clock-unsynchronised", "the kernel says that nothing keeps the clock", "run a time service", false),
	}
}
