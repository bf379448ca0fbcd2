package keyring

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sgkandale/sharelock"
)

// summary counts the members that have each key.
func summary(answers []answer) (k sharelock.Keyring) {
	at := map[Fingerprint]int{}
	for _, a := range answers {
		member := sharelock.KeyringMember{Name: a.member.Name, FromFile: a.report.FromFile}
		if a.err != nil {
			member.Err = a.err.Error()
		} else {
			member.Encryption = a.report.Mode.String()
		}
		k.Members = append(k.Members, member)
		for i, f := range a.report.Keys {
			n, known := at[f]
			if !known {
				n = len(k.Keys)
				at[f] = n
				k.Keys = append(k.Keys, sharelock.GossipKey{Fingerprint: f.String()})
			}
			k.Keys[n].Installed++
			if i == 0 {
				k.Keys[n].Primary++
			}
			if i < len(a.report.Ring) {
				k.Keys[n].Key = a.report.Ring[i].Text()
			}
		}
	}
	slices.SortFunc(k.Keys, func(a, b sharelock.GossipKey) int {
		return cmp.Or(b.Primary-a.Primary, b.Installed-a.Installed, strings.Compare(a.Fingerprint, b.Fingerprint))
	})
	return k
}
