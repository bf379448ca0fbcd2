package route

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/pagetoken"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// List implements api.Locker: it asks every owner and merges. A change of view in the middle starts it
// again (Q1), so that a page never passes over keys.
func (rt *Router) List(ctx context.Context, r sharelock.ListRequest) (sharelock.ListPage, error) {
	if err := checkList(&r); err != nil {
		return sharelock.ListPage{}, err
	}
	rt.cfg.AwaitStart(ctx, rt.cfg.StartPatience)
	var rests pauses
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		changed := rt.cfg.Views.Changed()
		v, err := rt.view()
		if err != nil {
			return sharelock.ListPage{}, err
		}
		parts, err := rt.listAll(ctx, v, r)
		if err == nil {
			return merge(parts, r.PageSize), nil
		}
		if err := rests.wait(ctx, limit.C, changed); err != nil {
			return sharelock.ListPage{}, err
		}
	}
}

func checkList(r *sharelock.ListRequest) error {
	switch {
	case len(r.Prefix) > sharelock.MaxKeyBytes:
		return sharelock.Invalid("prefix", "is longer than any key")
	case len(r.ClientID) > sharelock.MaxClientIDBytes:
		return sharelock.Invalid("client_id", "is longer than any client id")
	case r.PageSize < 0 || r.PageSize > sharelock.MaxPageSize:
		return sharelock.Invalid("page_size", "must be 0 to 1000")
	}
	if r.PageSize == 0 {
		r.PageSize = sharelock.DefaultPageSize
	}
	after, err := pagetoken.Key(r.PageToken)
	if err != nil || len(after) > sharelock.MaxKeyBytes {
		return sharelock.Invalid("page_token", "is not the token of a page")
	}
	r.PageToken = after
	return nil
}

// listAll reads every owner's part.
func (rt *Router) listAll(ctx context.Context, a *epoch.View, r sharelock.ListRequest) ([]owner.Listing, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := make([]owner.Listing, len(a.Members))
	errs := make([]error, len(a.Members))
	var wg sync.WaitGroup
	for i, m := range a.Members {
		wg.Go(func() {
			if parts[i], errs[i] = rt.listOf(ctx, a, m, r); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return parts, errors.Join(errs...)
}

func (rt *Router) listOf(ctx context.Context, a *epoch.View, m ring.Member, r sharelock.ListRequest) (owner.Listing, error) {
	if m.Identity == rt.cfg.Self {
		return a.Service.List(ctx, a.Epoch, r.Prefix, r.ClientID, r.PageToken, r.PageSize)
	}
	return rt.cfg.List(ctx, m, a.Epoch, r)
}

// merge makes a page of the owners' parts. Where a part was cut off, nothing is
// known of later keys, so the page ends there.
func merge(parts []owner.Listing, size int) sharelock.ListPage {
	all := owner.Listing{}
	end, cut := "", false
	for _, p := range parts {
		all.Locks = append(all.Locks, p.Locks...)
		all.Quarantined += p.Quarantined
		if n := len(p.Locks); p.More && n > 0 && (!cut || p.Locks[n-1].Key < end) {
			end, cut = p.Locks[n-1].Key, true
		}
	}
	if cut {
		all.Locks = slices.DeleteFunc(all.Locks, func(l sharelock.KeyState) bool { return l.Key > end })
	}
	all.Cut(size)
	page := sharelock.ListPage{Locks: all.Locks, Quarantined: all.Quarantined}
	if n := len(all.Locks); n > 0 && (all.More || cut) {
		page.NextPageToken = pagetoken.After(all.Locks[n-1].Key)
	}
	return page
}
