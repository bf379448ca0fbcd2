package mesh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/logbridge"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/mesh/identity"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/ring"
)

// The reasons why a mesh is not recovered from a data directory; match them with errors.Is.
var (
	errNothingToRecover = errors.New("--recover: this data directory belongs to no mesh")
	errOthersAnswer     = errors.New("--recover: other nodes answer; if a majority of the data directories is there, start their nodes without --recover, " +
		"otherwise stop them first")
)

// errReplaced: the mesh of this data directory was recovered without it.
var errReplaced = errors.New("the mesh of this data directory was recovered from another one, and this directory must not be used any more: " +
	"empty it and start again to join as a new member (docs/recovery.md)")

// answerTime is how long --recover waits for an answer of another process.
const answerTime = 2 * time.Second

// recoverMesh makes a new cluster from this data directory alone, with a larger epoch and
// with every partition in quarantine. It refuses while another process of the old mesh, or
// whatever has the address of one or of a seed, answers. If this process alone has a majority, there is nothing
// to recover.
func (n *Node) recoverMesh() error {
	old, _, follows := n.data.Promise()
	if !follows {
		return errNothingToRecover
	}
	raftLog := logbridge.NewHCLog(n.log.With("part", "raft"))
	records, err := view.ReadRecords(n.data.RaftDir(), identity.SyncDir, raftLog)
	if err != nil {
		return fmt.Errorf("--recover: %w", err)
	}
	if slices.Equal(records.Voters, []string{n.self.ID}) {
		// Also after a recovery, as long as no other node has joined.
		n.log.Warn("--recover is ignored: this node alone has a majority of the seats. Start it without --recover")
		return nil
	}
	if there := n.answering(records.State.History); len(there) > 0 {
		return fmt.Errorf("%w: %s", errOthersAnswer, strings.Join(there, ", "))
	}
	id := make([]byte, 16)
	rand.Read(id) //nolint:errcheck // never fails, see crypto/rand
	s, err := records.Recovered(id, n.asMember())
	if err != nil {
		return fmt.Errorf("--recover: %w", err)
	}
	if err := records.Write(n.data.RecoveredDir(id), identity.SyncDir, raftLog, s, n.self.ID); err != nil {
		return fmt.Errorf("--recover: %w", err)
	}
	if err := n.data.TakeRecovered(id); err != nil {
		return fmt.Errorf("--recover: %w", err)
	}
	n.announce()
	n.sayRecovered(old, records, s)
	return nil
}

// sayRecovered says in one block what a recovery means.
func (n *Node) sayRecovered(old []byte, records view.Records, s view.State) {
	n.log.Warn("RECOVERED the mesh from this data directory alone", "old_cluster", fmt.Sprintf("%x", old), "new_cluster", fmt.Sprintf("%x", s.Cluster.GetId()),
		"last_view", records.State.View().String(), "first_epoch", s.Epoch(), "seats", 1)
	n.log.Warn("RECOVERED: all locks of the old mesh are lost; their holders and waiters are told, or learn it from their next renewal")
	n.log.Warn("RECOVERED: every partition grants nothing until all locks that may have existed have expired", "quarantine", rules.Stretch(s.Constants().MaxTTL()))
	n.log.Warn("RECOVERED: tokens keep growing, unless a clock of the old mesh was more than 12 days ahead of this machine's clock")
	n.log.Warn("RECOVERED: if a node of the old mesh still runs where this one cannot reach it, both may grant a key: stop it")
	n.log.Warn("RECOVERED: the data directories of all other old nodes are refused: empty them; then these nodes join as new members. Do not use --recover again")
}

// watchReplaced ends the node if its mesh was recovered without it: two clusters with the
// same keys must not go on side by side.
func (n *Node) watchReplaced(ctx context.Context) {
	select {
	case <-n.gossip.Replaced():
	case <-ctx.Done():
		return
	}
	by := n.gossip.Successor()
	err := fmt.Errorf("%w: node %s at %s is in cluster %x, this directory belongs to %x", errReplaced, by.Meta.GetName(), by.Meta.GetPeer(),
		by.Meta.GetClusterId(), n.clusterID())
	n.log.Error("refused", "error", err)
	n.end(err)
}

// answering returns the members of a history and the seeds whose addresses answer, with who
// and where.
func (n *Node) answering(h ring.History) []string {
	where := n.others(h)
	ctx, cancel := context.WithTimeout(n.ctx, answerTime)
	defer cancel()
	var (
		mu    sync.Mutex
		there []string
		wg    sync.WaitGroup
	)
	for addr, who := range where {
		wg.Go(func() {
			conn, err := n.network.Dial(ctx, addr)
			if err != nil {
				return
			}
			_ = conn.Close()
			mu.Lock()
			defer mu.Unlock()
			there = append(there, fmt.Sprintf("%s at %s", who, addr))
		})
	}
	wg.Wait()
	slices.Sort(there)
	return there
}

// others are the addresses of all members of a history, and of the seeds, but for those of
// this process, each with who had it last.
func (n *Node) others(h ring.History) map[string]string {
	own := map[string]bool{n.addrs.Peer: true, n.addrs.Gossip: true}
	if addrs, err := n.gossip.OwnAddrs(); err == nil {
		for addr := range addrs {
			own[addr.String()] = true
		}
	}
	where := map[string]string{}
	for _, seed := range n.cfg.Seeds {
		addrs, err := n.gossip.Lookup(seed)
		if err != nil {
			continue // nobody can be there
		}
		for _, addr := range addrs {
			where[addr.String()] = "seed " + seed
		}
	}
	for _, v := range h.Views {
		for _, m := range v.Members {
			if m.ID != n.self.ID {
				where[m.Peer] = fmt.Sprintf("node %s (%s)", m.Name, m.ID)
			}
		}
	}
	for addr := range own {
		delete(where, addr)
	}
	return where
}
