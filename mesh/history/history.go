// Package history finds out who held a key. It asks all members of the view for what they have
// recorded, and the owner of the key for its current holders.
package history

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner/journal"
	"github.com/sgkandale/sharelock/ring"
)

// askTime is how long members may take to answer, getTime how long the owner of the key may. A
// member that does not answer is left out.
const (
	askTime = 5 * time.Second
	getTime = 2 * time.Second
)

// findTime bounds the whole request.
const findTime = 15 * time.Second

// mostAtOnce is the maximum number of requests that this node answers at the same time; others
// wait.
const mostAtOnce = 4

// tries is how often all members are asked at most, because the view has changed in the meantime.
const tries = 3

// Config is what a [History] needs to know. All fields are required except Own.
type Config struct {
	Self  ring.Identity
	Views *epoch.Views
	// Own searches what this member has recorded; nil if it records nothing.
	Own func(ctx context.Context, q journal.Query) (journal.Part, error)
	// Ask asks another member.
	Ask func(ctx context.Context, m ring.Member, q journal.Query) (journal.Part, error)
	// Get returns the current holders of a key.
	Get func(ctx context.Context, key string) (sharelock.KeyState, error)
	// Keep is how long the history is kept.
	Keep time.Duration
}

// History answers requests. It is safe for concurrent use.
type History struct {
	cfg Config
	// turns is full while mostAtOnce requests are being answered.
	turns chan struct{}
}

// New returns a History.
func New(cfg Config) *History { return &History{cfg: cfg, turns: make(chan struct{}, mostAtOnce)} }

// Find answers a request as completely as possible. It fails only if the request is invalid, this
// process is in no view, or ctx ends.
func (h *History) Find(ctx context.Context, r sharelock.HistoryRequest) (sharelock.History, error) {
	if err := r.Check(); err != nil {
		return sharelock.History{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	select {
	case h.turns <- struct{}{}:
		defer func() { <-h.turns }()
	case <-ctx.Done():
		return sharelock.History{}, ctx.Err()
	}
	now := time.Now()
	var found sharelock.History
	for range tries {
		v := h.cfg.Views.Now()
		if v == nil {
			return sharelock.History{}, &sharelock.Error{Err: sharelock.ErrNotReady, Message: "the node is in no view yet"}
		}
		found = h.find(ctx, v, h.query(r, intconv.Uint32(v.Constants().Partitions()), now))
		if found.Complete || v.Epoch == h.cfg.Views.Epoch() || ctx.Err() != nil {
			break
		}
	}
	return found, ctx.Err()
}

// query returns the query that is sent to members.
func (h *History) query(r sharelock.HistoryRequest, partitions uint32, now time.Time) journal.Query {
	from, to := now.Add(-h.cfg.Keep), now
	if !r.From.IsZero() {
		from = r.From
	}
	if !r.To.IsZero() {
		to = r.To
	}
	limit := r.Limit
	if limit == 0 {
		limit = sharelock.DefaultHistory
	}
	return journal.Query{
		Key: r.Key, Partition: ring.PartitionOf(r.Key, partitions), From: from.UnixMicro(), To: to.UnixMicro(), Limit: limit,
		Asked: now.UnixMicro(),
	}
}

// find asks the owner of the key, and then all members of a view.
func (h *History) find(ctx context.Context, v *epoch.View, q journal.Query) sharelock.History {
	live, known := h.live(ctx, q.Key)
	for i := range live {
		q.Live = append(q.Live, live[i].Token)
	}
	parts := h.askAll(ctx, v, q)
	e := v.Epoch
	if !known || e != h.cfg.Views.Epoch() {
		e = 0
	}
	return journal.Merge(q, parts, live, e)
}

// live returns the current holders of a key; known is true if these are all.
func (h *History) live(ctx context.Context, key string) (holds []sharelock.Hold, known bool) {
	ctx, cancel := context.WithTimeout(ctx, getTime)
	defer cancel()
	state, err := h.cfg.Get(ctx, key)
	switch {
	case err == nil:
		return state.Holds, len(state.Holds) >= state.HoldCount
	case errors.Is(err, sharelock.ErrNotHeld), errors.Is(err, sharelock.ErrQuarantined):
		return nil, true
	default:
		return nil, false
	}
}

// askAll asks all members of a view at the same time, and leaves out those that do not answer.
func (h *History) askAll(ctx context.Context, v *epoch.View, q journal.Query) (parts []journal.Part) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	for _, m := range v.Members {
		ask := func() (journal.Part, error) { return h.cfg.Ask(ctx, m, q) }
		if m.Identity == h.cfg.Self {
			if h.cfg.Own == nil {
				continue
			}
			ask = func() (journal.Part, error) { return h.cfg.Own(ctx, q) }
		}
		wg.Go(func() {
			part, err := ask()
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			parts = append(parts, part)
		})
	}
	wg.Wait()
	return parts
}
