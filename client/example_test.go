package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/testcluster"
)

// The examples talk to a fake mesh in memory. With a real one there is no need
// for the DialOptions.
func dial(ctx context.Context) (c *client.Client, stop func()) {
	opts, stopMesh := client.DialFake("localhost:50052")
	c, err := client.Dial(ctx, []string{"localhost:50052"}, client.Options{ClientID: "worker-1", DialOptions: opts})
	if err != nil {
		panic(err)
	}
	return c, func() {
		if err := c.Close(); err != nil {
			panic(err)
		}
		stopMesh()
	}
}

// dialMesh returns a client of a real node.
func dialMesh(ctx context.Context) (c *client.Client, stop func()) {
	mesh, err := testcluster.New(ctx, testcluster.Options{Nodes: 1})
	if err != nil {
		panic(err)
	}
	return mesh.Client(0), func() {
		if err := mesh.Close(); err != nil {
			panic(err)
		}
	}
}

func ExampleDial() {
	ctx := context.Background()
	// In place of a real mesh; with one there is no need for DialOptions.
	opts, stop := client.DialFake("localhost:50052")
	defer stop()

	// One address is enough, more survive the loss of a node.
	c, err := client.Dial(ctx, []string{"localhost:50052"}, client.Options{ClientID: "worker-1", DialOptions: opts})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	mesh, err := c.Mesh(ctx)
	fmt.Println("connected to:", mesh.Cluster, err)
	// Output:
	// connected to: fake <nil>
}

func ExampleClient_Do() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	err := c.Do(ctx, "orders/42", func(ctx context.Context, l *client.Lock) error {
		// ctx ends if the lock is about to be lost; the token lets the resource
		// refuse us should we have overslept that.
		fmt.Println("working under token", l.Token(), "ctx:", ctx.Err())
		return nil
	}, client.TTL(30*time.Second), client.Wait(5*time.Second))
	fmt.Println("error:", err)
	// Output:
	// working under token 1 ctx: <nil>
	// error: <nil>
}

func ExampleClient_Acquire() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	lock, err := c.Acquire(ctx, "reports/nightly", client.Metadata(map[string]string{"job": "7"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, step := range []string{"collect", "render"} {
		select {
		case <-lock.Done():
			fmt.Println("stopping:", lock.Err())
			return
		default:
			fmt.Println(step)
		}
	}
	if err := lock.Release(ctx); err != nil {
		fmt.Println("somebody else may have worked on it, too:", err)
	}
	// Output:
	// collect
	// render
}

// Work under a lock takes the lock's context, which ends before the lock can be lost.
func ExampleLock_Context() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	lock, err := c.Acquire(ctx, "reports/nightly")
	if err != nil {
		fmt.Println(err)
		return
	}
	work, cancel := lock.Context(ctx)
	defer cancel()
	fmt.Println("at work:", work.Err())
	// The lock ends: here it is released, but it could be lost as well.
	fmt.Println("released:", lock.Release(ctx))
	<-work.Done()
	fmt.Println("stopped:", context.Cause(work))
	// Output:
	// at work: <nil>
	// released: <nil>
	// stopped: lock is released
}

// Readers share a key; a writer waits for all of them.
func ExampleShared() {
	ctx := context.Background()
	c, stop := dialMesh(ctx)
	defer stop()

	first, err := c.Acquire(ctx, "settings", client.Shared())
	fmt.Println("first reader:", err)
	second, err := c.Acquire(ctx, "settings", client.Shared())
	fmt.Println("second reader:", err)
	_, err = c.TryAcquire(ctx, "settings")
	fmt.Println("a writer must wait:", errors.Is(err, sharelock.ErrLockHeld))
	fmt.Println("released:", first.Release(ctx), second.Release(ctx))
	// Output:
	// first reader: <nil>
	// second reader: <nil>
	// a writer must wait: true
	// released: <nil> <nil>
}

// Slots let a number of holders in at a time.
func ExampleSlots() {
	ctx := context.Background()
	c, stop := dialMesh(ctx)
	defer stop()

	var locks []*client.Lock
	for range 2 {
		lock, err := c.Acquire(ctx, "licences", client.Slots(2))
		if err != nil {
			fmt.Println(err)
			return
		}
		locks = append(locks, lock)
	}
	_, err := c.TryAcquire(ctx, "licences", client.Slots(2))
	fmt.Println("a third must wait:", errors.Is(err, sharelock.ErrLockHeld))
	for _, lock := range locks {
		fmt.Println("released:", lock.Release(ctx))
	}
	// Output:
	// a third must wait: true
	// released: <nil>
	// released: <nil>
}

func ExampleClient_TryAcquire() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	first, err := c.TryAcquire(ctx, "door")
	fmt.Println("first:", err)
	_, err = c.TryAcquire(ctx, "door")
	if errors.Is(err, sharelock.ErrLockHeld) {
		e, _ := errors.AsType[*sharelock.Error](err)
		fmt.Println("second: held by", e.Holds[0].ClientID)
	}
	fmt.Println("released:", first.Release(ctx))
	// Output:
	// first: <nil>
	// second: held by worker-1
	// released: <nil>
}

func ExampleClient_Mutex() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	mu := c.Mutex("reports", client.TTL(20*time.Second))
	lock, err := mu.Lock(ctx)
	fmt.Println("locked:", err)
	_, err = mu.TryLock(ctx)
	fmt.Println("held already:", errors.Is(err, sharelock.ErrLockHeld))
	fmt.Println("released:", lock.Release(ctx))
	// Output:
	// locked: <nil>
	// held already: true
	// released: <nil>
}

func ExampleClient_RWMutex() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	rw := c.RWMutex("settings")
	lock, err := rw.RLock(ctx)
	fmt.Println("reading:", err, lock.Hold().Mode)
	fmt.Println("released:", lock.Release(ctx))
	// Output:
	// reading: <nil> SHARED
	// released: <nil>
}

func ExampleClient_Semaphore() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	lock, err := c.Semaphore("licences", 5).Lock(ctx)
	fmt.Println("one of five:", err, lock.Hold().Slots)
	fmt.Println("released:", lock.Release(ctx))
	// Output:
	// one of five: <nil> 5
	// released: <nil>
}

func ExampleClient_ReleaseAll() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	for _, key := range []string{"a", "b", "c"} {
		if _, err := c.Acquire(ctx, key); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("held:", c.Stats().Held)
	fmt.Println("released:", c.ReleaseAll(ctx))
	fmt.Println("held:", c.Stats().Held)
	// Output:
	// held: 3
	// released: <nil>
	// held: 0
}

func ExampleLock_Renew() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	lock, err := c.Acquire(ctx, "build", client.TTL(10*time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	// A step follows in which the process may stand still for longer.
	fmt.Println("renewed:", lock.Renew(ctx, 50*time.Second), lock.Hold().TTL)
	fmt.Println("still held:", lock.Check(ctx) == nil)
	fmt.Println("released:", lock.Release(ctx))
	// Output:
	// renewed: <nil> 50s
	// still held: true
	// released: <nil>
}

func ExampleClient_Adopt() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	// The hold was acquired by another process, which has handed over its key and token.
	handed, err := c.Acquire(ctx, "deploy", client.NoRenew())
	if err != nil {
		fmt.Println(err)
		return
	}
	lock, err := c.Adopt(ctx, "deploy", handed.Token())
	fmt.Println("adopted:", err, lock.Token())
	fmt.Println("released:", lock.Release(ctx))
	// Output:
	// adopted: <nil> 1
	// released: <nil>
}

func ExampleClient_Stats() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	lock, err := c.Acquire(ctx, "report")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("renewed:", lock.Renew(ctx, 0))
	st := c.Stats()
	fmt.Println("held:", st.Held, "renewals:", st.Renewals, "lost:", st.Lost)
	fmt.Println("released:", lock.Release(ctx))
	// Output:
	// renewed: <nil>
	// held: 1 renewals: 1 lost: 0
	// released: <nil>
}

func ExampleLock_Check() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	lock, err := c.Acquire(ctx, "payout")
	if err != nil {
		fmt.Println(err)
		return
	}
	// Ask the owner of the key just before something that cannot be undone.
	if err := lock.Check(ctx); err != nil {
		fmt.Println("not ours any more:", err)
		return
	}
	fmt.Println("pay under token", lock.Token())
	fmt.Println("released:", lock.Release(ctx))
	// Output:
	// pay under token 1
	// released: <nil>
}

func ExampleLock_Renew_metadata() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	lock, err := c.Acquire(ctx, "migration", client.Metadata(map[string]string{"step": "1 of 7"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	// Others see it with Get, List and "sharelock get".
	err = lock.Renew(ctx, 0, client.Metadata(map[string]string{"step": "2 of 7"}))
	fmt.Println("renewed:", err, lock.Hold().Metadata["step"])
	fmt.Println("released:", lock.Release(ctx))
	// Output:
	// renewed: <nil> 2 of 7
	// released: <nil>
}

func ExampleMaxHold() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	// A job that hangs must not keep the others out for ever, though its lock is renewed.
	lock, err := c.Acquire(ctx, "nightly", client.MaxHold(200*time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	<-lock.Done()
	fmt.Println("held for too long:", errors.Is(lock.Err(), client.ErrMaxHold))
	// Output:
	// held for too long: true
}

func ExampleOnQueued() {
	ctx := context.Background()
	c, stop := dial(ctx)
	defer stop()

	first, err := c.Acquire(ctx, "printer")
	if err != nil {
		fmt.Println(err)
		return
	}
	told := make(chan int)
	done := make(chan error)
	go func() {
		lock, err := c.Acquire(ctx, "printer", client.OnQueued(func(position int) { told <- position }))
		if err == nil {
			err = lock.Release(ctx)
		}
		done <- err
	}()
	fmt.Println("position:", <-told)
	fmt.Println("released:", first.Release(ctx))
	fmt.Println("had its turn:", <-done)
	// Output:
	// position: 1
	// released: <nil>
	// had its turn: <nil>
}
