package view

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// switchboard connects the Rafts of a test by their ids.
type switchboard struct {
	mu   sync.Mutex
	ends map[string]*switched // guarded by mu
}

// switched is one end of a switchboard.
type switched struct {
	board *switchboard
	id    string
	calls chan net.Conn
	gone  chan struct{}
	mu    sync.Mutex
	conns []net.Conn // guarded by mu; Raft does not close the connections that it has accepted
}

func (b *switchboard) end(id string) *switched {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &switched{board: b, id: id, calls: make(chan net.Conn), gone: make(chan struct{})}
	b.ends[id] = s
	return s
}

func (s *switched) Accept() (net.Conn, error) {
	select {
	case c := <-s.calls:
		return c, nil
	case <-s.gone:
		return nil, net.ErrClosed
	}
}

func (s *switched) Dial(to raft.ServerAddress, _ time.Duration) (net.Conn, error) {
	s.board.mu.Lock()
	other := s.board.ends[string(to)]
	s.board.mu.Unlock()
	if other == nil {
		return nil, errDeaf
	}
	ours, theirs := net.Pipe()
	s.keep(ours)
	other.keep(theirs)
	select {
	case other.calls <- theirs:
		return ours, nil
	case <-other.gone:
		return nil, errDeaf
	}
}

func (s *switched) keep(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
}

func (s *switched) Close() error {
	close(s.gone)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close() // of a pipe: it cannot fail
	}
	return nil
}

func (s *switched) Addr() net.Addr { return &net.TCPAddr{} }

// A voter was away when another one was promoted, and the two of them are a majority of three. Only
// the promoted one can lead, because its log is newer. The other one has to vote for it although
// its own configuration does not contain it as a voter (V1).
func TestVoterThatWasAwayElectsANewOne(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		board := &switchboard{ends: map[string]*switched{}}
		dirs := map[string]string{}
		start := func(id string) *Raft {
			if dirs[id] == "" {
				dirs[id] = t.TempDir()
			}
			a, err := Start(Config{
				ID: id, Dir: dirs[id], SyncDir: noSync, Lease: lease, LeaseKnown: true, Layer: board.end(id),
				Log: slog.New(slog.DiscardHandler), RaftLog: quiet(),
			})
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		a, b, d := start("a"), start("b"), start("d")
		do(a.Bootstrap())
		for !<-a.LeaderCh() {
		}
		do(a.Reseat(ctx, Change{changePromote, "b"}))
		do(a.Settle(ctx))
		do(a.Reseat(ctx, Change{changeStage, "d"}))
		time.Sleep(lease) // all have the configuration
		do(b.Close())
		do(a.Reseat(ctx, Change{changePromote, "d"}))
		do(a.Settle(ctx))
		time.Sleep(lease)
		do(a.Close())
		b = start("b")
		time.Sleep(20 * lease)
		if !d.Leads() {
			t.Errorf("%s: two of three voters are up, and elect nobody: b says %q leads, d says %q", invariant.DeadGo, b.Leader(), d.Leader())
		}
		do(b.Close())
		do(d.Close())
	})
}
