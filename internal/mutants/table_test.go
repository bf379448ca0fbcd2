package mutants

import (
	"slices"

	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
)

// all lists the mutants, in the order of the report.
var all = slices.Concat(replication, activation, requests, views)

// caughtByRandomRun lists the invariants, one of which the random run must name.
var caughtByRandomRun = names([]cluster.Invariant{
	cluster.OneHolder, cluster.TokensGrow, cluster.OneGrant, cluster.Fair,
	cluster.Consistent, cluster.Linearizable,
})

func names[I ~string](list []I) []string {
	var names []string
	for _, i := range list {
		names = append(names, string(i))
	}
	return names
}

// owner, agreement, membership and sim are tests of the packages owner, mesh/view, mesh/member and
// internal/cluster.
func owner(tests string, by ...invariant.Name) net { return net{"owner", tests, names(by)} }

func lockMachine(tests string, by ...invariant.Name) net {
	return net{"owner/machine", tests, names(by)}
}

func quotas(tests string, by ...invariant.Name) net { return net{"owner/ledger", tests, names(by)} }

func agreement(tests string, by ...invariant.Name) net { return net{"mesh/view", tests, names(by)} }

func membership(tests string, by ...invariant.Name) net { return net{"mesh/member", tests, names(by)} }

func sim[I ~string](test string, by ...I) net { return net{"internal/cluster", test, names(by)} }
