package testcluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/testcluster"
)

// A lock outlives the crash of the node that owns its key.
func ExampleStart() {
	// In a test, t is its *testing.T.
	t := &exampleTest{}
	defer t.end()

	c := testcluster.Start(t, testcluster.Options{Nodes: 3})
	ctx, owner := t.Context(), c.Owner("report")
	// A client of one node; this one lives on.
	lock, err := c.Client((owner+1)%3).Acquire(ctx, "report")
	if err != nil {
		t.Fatalf("%v", err)
	}
	c.Kill(owner)
	if err := c.WaitMembers(ctx, 2); err != nil {
		t.Fatalf("%v", err)
	}
	fmt.Println("held:", lock.Check(ctx) == nil)
	fmt.Println("released:", lock.Release(ctx) == nil)
	// Output:
	// held: true
	// released: true
}

// Without a test, the caller closes the cluster and asks for the violations.
func ExampleNew() {
	ctx := context.Background()
	c, err := testcluster.New(ctx, testcluster.Options{Nodes: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	lock, err := c.Client(0).Acquire(ctx, "report")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("released:", lock.Release(ctx) == nil)
	for _, call := range c.History().Calls() {
		fmt.Println(call.Op, call.Key, call.OK())
	}
	fmt.Println("violations:", c.Check())
	// Output:
	// released: true
	// acquire report true
	// release report true
	// violations: <nil>
}

// A worker must stop when it loses its lock. Expire takes the lock away, so that this can be tested.
func ExampleCluster_Expire() {
	ctx := context.Background()
	c, err := testcluster.New(ctx, testcluster.Options{Nodes: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	worker := func(lock *client.Lock) error {
		work, cancel := lock.Context(ctx)
		defer cancel()
		<-work.Done() // in place of work that goes on until its context ends
		return context.Cause(work)
	}

	lock, err := c.Client(0).Acquire(ctx, "report")
	if err != nil {
		fmt.Println(err)
		return
	}
	stopped := make(chan error)
	go func() { stopped <- worker(lock) }()
	if err := c.Expire("report"); err != nil {
		fmt.Println(err)
	}
	fmt.Println("the worker lost its lock:", errors.Is(<-stopped, client.ErrLost))
	_, err = c.Client(0).TryAcquire(ctx, "report")
	fmt.Println("another may have it:", err == nil)
	// Output:
	// the worker lost its lock: true
	// another may have it: true
}

// A lock whose renewals are frozen is lost when its TTL is over, as if no node could be reached.
// Its contexts end in time for the work to stop before that.
func ExampleCluster_FreezeRenewals() {
	ctx := context.Background()
	c, err := testcluster.New(ctx, testcluster.Options{Nodes: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	lock, err := c.Client(0).Acquire(ctx, "report", client.TTL(time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	work, cancel := lock.Context(ctx)
	defer cancel()
	c.FreezeRenewals(lock)
	<-work.Done()
	fmt.Println("about to be lost:", errors.Is(context.Cause(work), client.ErrLost))
	<-lock.Done()
	fmt.Println("lost:", errors.Is(lock.Err(), client.ErrLost))
	// Output:
	// about to be lost: true
	// lost: true
}

// exampleTest is the part of a *testing.T that an example needs, as it has none.
type exampleTest struct {
	failed   bool
	cleanups []func()
}

func (t *exampleTest) Helper()                           {}
func (t *exampleTest) Logf(format string, args ...any)   { fmt.Printf(format+"\n", args...) }
func (t *exampleTest) Errorf(format string, args ...any) { t.failed = true; t.Logf(format, args...) }
func (t *exampleTest) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *exampleTest) Failed() bool                      { return t.failed }
func (t *exampleTest) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *exampleTest) Context() context.Context          { return context.Background() }

func (t *exampleTest) TempDir() string {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v", err)
		}
	})
	return dir
}

// end is the end of the test.
func (t *exampleTest) end() {
	for _, cleanup := range slices.Backward(t.cleanups) {
		cleanup()
	}
}
