package api

import (
	"context"
	"slices"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/pagetoken"
)

// listWithin lists the keys with one of the prefixes, which are sorted and of which none begins with
// another one. It reads them one after the other, so that no page token contains a key that the caller
// may not read.
func listWithin(ctx context.Context, node Locker, r sharelock.ListRequest, prefixes []string) (sharelock.ListPage, error) {
	size := r.PageSize
	if size == 0 {
		size = sharelock.DefaultPageSize
	}
	var page sharelock.ListPage
	for i, prefix := range prefixes {
		part := r
		part.Prefix = prefix
		if size <= sharelock.MaxPageSize { // otherwise the node refuses it
			part.PageSize = size - len(page.Locks)
		}
		got, err := node.List(ctx, part)
		if err != nil {
			return sharelock.ListPage{}, err
		}
		page.Quarantined = got.Quarantined
		page.Locks = slices.Concat(page.Locks, got.Locks)
		if got.NextPageToken != "" {
			page.NextPageToken = got.NextPageToken
			return page, nil
		}
		if n := len(page.Locks); n >= size {
			if i < len(prefixes)-1 {
				page.NextPageToken = pagetoken.After(page.Locks[n-1].Key)
			}
			return page, nil
		}
	}
	return page, nil
}
