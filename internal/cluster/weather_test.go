package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sgkandale/sharelock/internal/cluster"
)

// weather applies random faults to the mesh.
type weather struct {
	c   *cluster.Cluster
	rnd *rand.Rand
	// found is set if every node has --found in its unit file from its second start on.
	found bool
	// versions holds the releases of the nodes' programs.
	versions *versions
	// rules holds the rules that were not ended on purpose.
	rules []*cluster.Rule
}

// change makes one change. A node that is down comes back before the next goes down, because a mesh
// survives only one; but now and then all go down at once.
func (w *weather) change(ctx context.Context) error {
	if err := errors.Join(w.versions.watch(), w.versions.mend(ctx)); err != nil {
		return err
	}
	var down []int
	for n := range w.c.Len() {
		if w.c.Node(n) == nil {
			down = append(down, n)
		}
	}
	if len(down) > 0 && (len(down) > 1 || w.rnd.IntN(2) == 0) {
		return w.versions.restart(ctx, down[w.rnd.IntN(len(down))])
	}
	i, j := w.rnd.IntN(w.c.Len()), w.rnd.IntN(w.c.Len())
	switch roll := w.rnd.IntN(100); {
	case roll < 25:
		w.c.Heal()
		w.rules = nil
	case roll < 50:
		w.message()
	case roll < 56 && len(down) == 0:
		w.c.Kill(i)
	case roll < 58 && len(down) == 0:
		w.killBesideCut(i, j)
	case roll < 59 && len(down) == 0:
		for n := range w.c.Len() {
			w.c.Kill(n)
		}
	case roll < 63 && len(down) == 0, roll < 80 && len(down) == 0 && w.versions.on && w.rnd.IntN(4) == 0:
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_ = w.c.Stop(short, i) // during faults it may be unable to hand over
	case roll < 65 && len(down) == 0 && w.c.Len() > 2:
		return w.wipe(ctx, i)
	case roll < 70:
		w.c.Split([]int{i}, w.others(i))
	case roll < 76:
		w.c.Cut(i, j)
	case roll < 81:
		w.c.Delay(i, j, time.Duration(w.rnd.Int64N(int64(w.c.Timing()/4))))
	case roll < 86:
		w.c.Freeze(i)
	case roll < 89:
		w.c.Reset(i, j)
	case roll < 92:
		w.c.Deafen(i)
	default:
		// Any two clocks, including clients', stay within 10 %.
		w.c.SetRate(i, 0.96+w.rnd.Float64()*0.08)
	}
	return nil
}

// kinds are groups of related messages, so that a rule matches some.
var kinds = [][]cluster.Kind{
	{cluster.Calls},
	{cluster.Answers},
	{cluster.Entries},
	{cluster.Acks},
	{cluster.Ping, cluster.Pong},
	{cluster.LeaseRequest},
	{cluster.LeaseAnswer},
	{cluster.Join, cluster.JoinAnswer, cluster.Probe, cluster.ProbeAnswer},
	{cluster.Term},
	{cluster.TermAnswer},
	{cluster.Install, cluster.InstallAnswer},
	{cluster.Ask},
	{cluster.AskAnswer},
	{cluster.Fetch, cluster.FetchAnswer},
	{cluster.Sync},
	{cluster.SyncAnswer},
	{cluster.Active, cluster.ActiveAnswer},
	{cluster.SessionCalls},
	{cluster.SessionAnswers},
	nil,
}

// message makes a rule for single messages, or ends one.
func (w *weather) message() {
	if len(w.rules) > 0 && w.rnd.IntN(3) == 0 {
		n := w.rnd.IntN(len(w.rules))
		w.rules[n].End()
		w.rules = append(w.rules[:n:n], w.rules[n+1:]...)
		return
	}
	about := cluster.Messages{
		From: w.rnd.IntN(w.c.Len()+1) - 1, To: w.rnd.IntN(w.c.Len()+1) - 1, // -1 is Anyone
		Kinds: kinds[w.rnd.IntN(len(kinds))],
		Share: []float64{0, 0.5, 0.1, 0.02}[w.rnd.IntN(4)],
	}
	late := time.Duration(w.rnd.Int64N(int64(4*w.c.Timing()))) + 1
	var r *cluster.Rule
	switch w.rnd.IntN(6) {
	case 0:
		r = w.c.HoldMessages(about)
	case 1:
		r = w.c.DropMessages(about)
	case 2:
		r = w.c.VanishMessages(about)
	case 3:
		r = w.c.RepeatMessages(about, 0, late)
	default:
		r = w.c.DelayMessages(about, 0, late)
	}
	w.rules = append(w.rules, r)
}

// killBesideCut kills a node while a link between two others is cut, one way or both, so that what the
// dead one held can perhaps be asked for only through a third node (V5, V6a; schedule 16).
func (w *weather) killBesideCut(dead, one int) {
	for _, other := range w.others(dead) {
		if one != dead && other != one {
			w.c.Cut(one, other)
			if w.rnd.IntN(2) == 0 {
				w.c.Cut(other, one)
			}
			break
		}
	}
	w.c.Kill(dead)
}

// wipe deletes a node's disk. A node that loses its vote that way must be replaced before the next is
// wiped, so the mesh has to be whole before and after.
func (w *weather) wipe(ctx context.Context, i int) error {
	w.c.Heal()
	w.rules = nil
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if w.c.WaitReady(ready) != nil {
		return nil
	}
	w.c.Kill(i)
	if err := w.c.Wipe(i); err != nil {
		return err
	}
	w.versions.wiped(i)
	if w.versions.on && w.versions.risen && w.rnd.IntN(2) == 0 {
		if err := w.turnedAway(ctx, i); err != nil {
			return err
		}
	}
	w.versions.newest(i) // the test waits for it
	apart := w.found && w.rnd.IntN(2) == 0
	if apart { // V0: it reaches nobody, and must not found a mesh of its own
		w.c.Split([]int{i}, w.others(i))
	}
	if err := w.versions.start(ctx, i); err != nil {
		return err
	}
	if apart {
		pause(ctx, time.Duration(w.rnd.Int64N(int64(4*w.c.Timing()))))
		w.c.Heal()
	}
	return w.c.WaitReady(ready)
}

// turnedAway starts the older program on node i, whose directory is empty, in a mesh of the new
// release. It must be refused (W2).
func (w *weather) turnedAway(ctx context.Context, i int) error {
	w.versions.nodes[i].release, w.versions.nodes[i].hold = oldRelease, 0
	if err := w.versions.start(ctx, i); err != nil {
		return err
	}
	m := w.c.Node(i)
	ends, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case <-m.Done():
	case <-ends.Done():
		return fmt.Errorf("node %d, of release %d, was not refused by a mesh of release %d", i, oldRelease, newRelease)
	}
	if err := m.Err(); !refusedForRelease(err) {
		return fmt.Errorf("node %d, of release %d, has ended: %w", i, oldRelease, err)
	}
	w.versions.refused++
	w.c.Kill(i)
	return w.c.Wipe(i)
}

// clear ends all faults.
func (w *weather) clear(ctx context.Context) error {
	w.c.Heal()
	if err := w.versions.mend(ctx); err != nil {
		return err
	}
	for n := range w.c.Len() {
		if w.c.Node(n) == nil {
			w.versions.newest(n)
			if err := w.versions.start(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *weather) others(i int) []int {
	var list []int
	for n := range w.c.Len() {
		if n != i {
			list = append(list, n)
		}
	}
	return list
}
