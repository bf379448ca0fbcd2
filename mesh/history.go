package mesh

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/mesh/history"
	"github.com/sgkandale/sharelock/owner/journal"
	"github.com/sgkandale/sharelock/ring"
)

// maxVolatileHistory bounds the history of a node without a data directory, which is kept in memory.
const maxVolatileHistory = 16 << 20

// openHistory opens the record of what this member applies, unless it is off. It is closed after the
// service that writes to it.
func (n *Node) openHistory() error {
	if n.cfg.HistoryBytes == 0 {
		return nil
	}
	cfg := journal.Config{MaxBytes: n.cfg.HistoryBytes, Keep: n.cfg.HistoryKeep, Partitions: ring.MaxPartitions, Log: n.log}
	if n.data.Volatile() {
		cfg.MaxBytes = min(cfg.MaxBytes, maxVolatileHistory)
	} else {
		cfg.Dir = filepath.Join(n.data.Path(), "history")
	}
	var err error
	if n.journal, err = journal.Open(cfg); err != nil {
		return fmt.Errorf("open the history in the data directory (history.max_bytes 0 turns it off): %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.journal.Run(ctx)
	}()
	n.onClose("history", func() error {
		cancel()
		<-ended
		return n.journal.Close()
	})
	return nil
}

// newHistory returns what answers requests for the history.
func (n *Node) newHistory() *history.History {
	return history.New(history.Config{
		Self: n.self, Views: n.views, Own: n.searchHistory(), Ask: n.peers.History, Get: n.router.Get, Keep: n.cfg.HistoryKeep,
	})
}

// searchHistory returns what searches the record of this member, or nil if there is none.
func (n *Node) searchHistory() func(context.Context, journal.Query) (journal.Part, error) {
	if n.journal == nil {
		return nil
	}
	return n.journal.Search
}

// History implements api.Historian.
func (n *Node) History(ctx context.Context, r sharelock.HistoryRequest) (sharelock.History, error) {
	return n.history.Find(ctx, r)
}
