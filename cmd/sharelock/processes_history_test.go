//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// pastHold is a hold that its holder knows of: at is a time at which it was held.
type pastHold struct {
	key   string
	token sharelock.Token
	at    time.Time
}

// holders take and release keys until they are ended.
type holders struct {
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	endings atomic.Int64
	failed  atomic.Int64
	// past holds what each holder has released.
	past [][]pastHold
}

// newHolders starts some holders with several keys each, which no other holder takes.
func newHolders(n int, clients []*client.Client) *holders {
	h := &holders{past: make([][]pastHold, n)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	for i := range n {
		h.running.Go(func() {
			for round := 0; h.ctx.Err() == nil; round++ {
				h.once(i, clients[i%len(clients)], fmt.Sprintf("past/%d/%d", i, round%4))
			}
		})
	}
	return h
}

// once records a hold whose release has been answered. Whether another one was held, and until when, is
// not known to its holder.
func (h *holders) once(i int, c *client.Client, key string) {
	l, err := c.Acquire(h.ctx, key, client.TTL(longTTL), client.Wait(longTTL))
	if err != nil {
		h.failed.Add(1)
		return
	}
	at := time.Now()
	if l.Release(context.Background()) != nil {
		h.failed.Add(1)
		return
	}
	h.past[i] = append(h.past[i], pastHold{key, l.Token(), at})
	h.endings.Add(1)
}

// end stops all holders, and returns what they have released.
func (h *holders) end() (all []pastHold) {
	h.cancel()
	h.running.Wait()
	for _, one := range h.past {
		all = append(all, one...)
	}
	return all
}

// After a kill -9 of an owner, a rolling restart, and SHARELOCK_HISTORY endings, every node says who held a
// key at a time, of a thousand: no answer is wrong, and at least 99 of 100 are complete, because no copy was
// lost.
func TestProcessesHistory(t *testing.T) {
	const questions = 1000
	endings, err := strconv.Atoi(cmp.Or(os.Getenv("SHARELOCK_HISTORY"), "3000"))
	if err != nil {
		t.Fatal(err)
	}
	r := newRehearsal(t, 3, "history:\n  max_bytes: 1073741824\n")
	all := r.form(3)
	h := newHolders(250, r.clients(all...))
	t.Cleanup(func() { h.end() })
	reached := func(part int) {
		r.await(fmt.Sprintf("%d of %d endings", endings*part/3, endings), 10*time.Minute, func() bool {
			return h.endings.Load() >= int64(endings*part/3)
		})
	}
	reached(1)
	r.kill(all[0])
	r.await("the others go on", 20*time.Second, func() bool { return r.together(all[1:]...) })
	r.again(all[0])
	r.await("it is back", 30*time.Second, func() bool { return r.whole(all...) })
	reached(2)
	for _, p := range all {
		r.stop(p)
		r.await("the others go on", 20*time.Second, func() bool { return r.together(but(all, p)...) })
		r.again(p)
		r.await("it is back", 30*time.Second, func() bool { return r.whole(all...) })
	}
	reached(3)
	past := h.end()

	var services []sharelockv1.LockServiceClient
	for _, p := range all {
		conn, err := grpc.NewClient(p.host+":50052", grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() }) //nolint:errcheck // nothing is pending
		services = append(services, sharelockv1.NewLockServiceClient(conn))
	}
	began, incomplete := time.Now(), 0
	for i := range questions {
		hold := past[rand.IntN(len(past))]
		if !hold.known(t, services[i%len(services)]) {
			incomplete++
		}
	}
	t.Logf("%d endings, %d calls without a known result, %d questions: %d incomplete answers, %v a question",
		len(past), h.failed.Load(), questions, incomplete, time.Since(began)/questions)
	if incomplete > questions/100 {
		t.Errorf("%d of %d answers are incomplete, want at most one of 100", incomplete, questions)
	}
}

// known reports whether the history is complete. It fails the test if the history names another holder at
// that time, or is complete without this one.
func (p pastHold) known(t *testing.T, s sharelockv1.LockServiceClient) (complete bool) {
	t.Helper()
	resp, err := s.History(t.Context(), sharelockv1.HistoryRequestToProto(sharelock.HistoryRequest{Key: p.key, From: p.at, To: p.at}))
	if err != nil {
		t.Fatal(err)
	}
	answer := sharelockv1.HistoryFromProto(resp)
	for _, e := range answer.Entries {
		if e.Token != p.token {
			t.Errorf("%s at %v: got token %v, want %v", p.key, p.at, e.Token, p.token)
		}
	}
	if len(answer.Entries) != 1 && (answer.Complete || len(answer.Entries) > 1) {
		t.Errorf("%s at %v: got %d holders, complete %v, want the one with token %v", p.key, p.at, len(answer.Entries), answer.Complete, p.token)
	}
	return answer.Complete
}
