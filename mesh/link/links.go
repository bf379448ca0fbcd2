package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// errClosed: this process has stopped.
var errClosed = errors.New("node is stopped")

// Config is what [Links] need to know. All fields but Wrap are required.
type Config struct {
	Self ring.Identity
	// Cluster returns the id of the cluster that this process follows.
	Cluster func() []byte
	// Releases are those that this program works with (W1).
	Releases release.Range
	// Dial opens a stream to an address.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Wrap may put something between a link and its stream. It is for tests.
	Wrap  func(addr string, f Frames) Frames
	Views *epoch.Views
	Clock func() time.Duration
	// Spawn runs a goroutine, or returns false when this process stops.
	Spawn func(func()) bool
	// Context ends when this process stops.
	Context context.Context //nolint:containedctx // the lifetime of the process
	Log     *slog.Logger
}

// Links are the links between this member and the others: the asking ends of those to them, and
// what serves the ones from them. Safe for concurrent use.
type Links struct {
	cfg Config

	mu     sync.Mutex
	all    map[ring.Identity]*Link // by member; guarded by mu
	ends   map[*ownerEnd]struct{}  // of the links from other members; guarded by mu
	closed bool                    // guarded by mu
}

// New returns the links of a process. None is open yet.
func New(cfg Config) *Links {
	return &Links{cfg: cfg, all: map[ring.Identity]*Link{}, ends: map[*ownerEnd]struct{}{}}
}

// To returns the link to a member. It is opened with the first request.
func (ls *Links) To(m ring.Member) (*Link, error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return nil, errClosed
	}
	l := ls.all[m.Identity]
	if l == nil {
		l = newLink(ls, m)
		ls.all[m.Identity] = l
	}
	return l, nil
}

// Replicate sends operations of partitions that this member owns to a backup (A3).
func (ls *Links) Replicate(to ring.Member, epoch uint32, entries []owner.Entries) {
	if l, err := ls.To(to); err == nil {
		l.replicate(epoch, entries)
	}
}

// Keep closes the links to processes that are in no view any more.
func (ls *Links) Keep(v *epoch.View) {
	ls.mu.Lock()
	// The service may be ahead, and have opened links to new members.
	if ls.closed || v.Epoch < v.Service.Epoch() {
		ls.mu.Unlock()
		return
	}
	var gone []*Link
	for id, l := range ls.all {
		if !v.Has(id) {
			gone = append(gone, l)
			delete(ls.all, id)
		}
	}
	ls.mu.Unlock()
	for _, l := range gone {
		l.close()
	}
}

// Stuck returns the members of which nothing was heard since before a time, though requests were
// sent to them and somebody still waits (V6).
func (ls *Links) Stuck(before time.Duration) (stuck []ring.Identity) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for id, l := range ls.all {
		if l.stuck(before) {
			stuck = append(stuck, id)
		}
	}
	return stuck
}

// Close closes all links, and there are none any more.
func (ls *Links) Close() {
	ls.mu.Lock()
	ls.closed = true
	all := ls.all
	ls.all = nil
	ls.mu.Unlock()
	for _, l := range all {
		l.close()
	}
}

// Try opens a link of its own to a process, and returns when a ping is answered.
func (ls *Links) Try(ctx context.Context, m ring.Member) error {
	f, err := ls.dial(ctx, m)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = f.Close() })()
	defer f.Close() //nolint:errcheck // it has served its purpose
	err = f.Send(appendPing(nil))
	for err == nil {
		var frame []byte
		var answer responseFrame
		if frame, err = f.Recv(); err == nil {
			err = answer.read(frame, m.Name)
		}
		if err == nil && answer.pong {
			return nil
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("no answer to a ping: %w", ctx.Err())
	}
	return err
}
