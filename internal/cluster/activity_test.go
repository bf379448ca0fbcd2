package cluster_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// Every node reports what all members do, and which of them do not answer.
func TestActivity(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		owner := c.Owner("k")
		asked := (owner + 1) % 3
		_, err := c.Client(asked).Acquire(t.Context(), "k", client.TTL(sceneMax))
		must(t, err)
		waiting, giveUp := context.WithCancel(t.Context())
		waited := make(chan error, 1)
		go func() {
			_, err := c.Client(asked).Acquire(waiting, "k", client.Wait(time.Minute))
			waited <- err
		}()
		time.Sleep(time.Second) // virtual

		list, err := c.Node(asked).Activity(t.Context(), 10)
		must(t, err)
		var holds, waiters int
		var grants uint64
		var contended []sharelock.Contention
		for _, a := range list {
			if a.Err != "" {
				t.Errorf("%s: %s", a.Name, a.Err)
			}
			holds, waiters, grants = holds+a.Holds, waiters+a.Waiters, grants+a.Grants
			contended = append(contended, a.Contended...)
		}
		if len(list) != 3 || holds != 1 || waiters != 1 || grants != 1 {
			t.Errorf("%d members have %d holds, %d waiters and %d grants, want 3, 1, 1 and 1", len(list), holds, waiters, grants)
		}
		if len(contended) != 1 || contended[0].Key != "k" || contended[0].Waiters != 1 || contended[0].LongestWait < time.Second/2 {
			t.Errorf("contended keys are %+v, want k with a waiter", contended)
		}

		c.Freeze(owner)
		list, err = c.Node(asked).Activity(t.Context(), 0)
		must(t, err)
		for _, a := range list {
			if silent := a.Name == c.Node(owner).Status().Node; silent != (a.Err != "") {
				t.Errorf("%s says %q; it is the silent one: %v", a.Name, a.Err, silent)
			}
		}
		c.Thaw(owner)
		giveUp()
		if err := <-waited; !errors.Is(err, context.Canceled) {
			t.Errorf("the waiter got %v", err)
		}
	})
}
