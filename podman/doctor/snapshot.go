package doctor

import (
	"context"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/podman/access"
)

// checks are all there are. Their order is that of the catalog.
var checks = []func(context.Context, *snapshot){
	checkPolicy, checkScopes, checkTransports,
	checkLookaside,
	checkRegistries, checkShortNames, checkExtension,
	checkAgent, checkClock, checkCompiledOut,
	checkFiles,
	checkCommands, checkEnvironment, checkRemote, checkCRIO,
	checkUsers,
	checkStores, checkImages, checkOthers,
}

// snapshot is the host as one examination sees it. Checks read from it and add
// findings to it.
type snapshot struct {
	Config
	doctor.Examination
	policy   policyFile
	accounts []account
	reach    *access.Access // by access()
	reachErr error
}

// take reads what several checks need.
func take(c Config) *snapshot {
	s := &snapshot{Config: c, Examination: doctor.Examination{Root: c.Host.Root, UID: c.Host.UID, Catalog: Catalog()}}
	s.Trusted = []int{s.OwnerOf(c.Intent.SecretKey)} // the agent's user
	s.policy = s.readPolicy(c.Host.PolicyJSONs())
	s.accounts = s.readAccounts()
	return s
}
