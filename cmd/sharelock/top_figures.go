package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

// ownedContention is a contended key with the member that owns it.
type ownedContention struct {
	sharelock.Contention
	owner string
}

// longestWaits returns the contended keys of all members, the longest wait first.
func longestWaits(list []sharelock.Activity) (keys []ownedContention) {
	for _, a := range list {
		for _, c := range a.Contended {
			keys = append(keys, ownedContention{c, a.Name})
		}
	}
	slices.SortStableFunc(keys, func(a, b ownedContention) int { return cmp.Compare(b.LongestWait, a.LongestWait) })
	return keys
}

// rates returns the grants and ends per second of a member since the frame before, or dashes if there is
// none, or if the member has restarted since then.
func (t *top) rates(now sharelock.Activity) (grants, ends string) {
	i := slices.IndexFunc(t.last, func(a sharelock.Activity) bool { return a.Name == now.Name && a.Err == "" })
	passed := time.Since(t.lastAt).Seconds()
	if i < 0 || passed <= 0 || now.Grants < t.last[i].Grants || now.Ends < t.last[i].Ends {
		return text.OrNone(""), text.OrNone("")
	}
	per := func(n uint64) string { return fmt.Sprintf("%.0f", float64(n)/passed) }
	return per(now.Grants - t.last[i].Grants), per(now.Ends - t.last[i].Ends)
}

// waited formats how long the longest waiter has waited; 0 means that nobody waits.
func waited(d time.Duration) string {
	if d == 0 {
		return text.OrNone("")
	}
	return text.Short(d)
}

// compactJSON removes the spaces that protojson inserts at random.
func compactJSON(b []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, b) != nil {
		return b
	}
	return out.Bytes()
}
