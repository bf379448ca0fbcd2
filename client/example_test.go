package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
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
