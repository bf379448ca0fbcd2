package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// A node that starts holds calls until it may serve. A caller that calls as soon as its ports are
// open, over HTTP or gRPC, gets no 503 and no UNAVAILABLE. Each node is restarted in turn.
func TestStartingNodeHoldsCalls(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Without: []cluster.Invariant{cluster.Linearizable}})
	ctx := limited(t)
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range c.Len() {
		must(t, c.Stop(ctx, i))
		var (
			started atomic.Bool
			calls   sync.WaitGroup
			served  atomic.Int64
		)
		// A caller that cannot connect has not called.
		for k := range 4 {
			for kind, call := range map[string]func(ctx context.Context, key string) (bool, error){
				"HTTP": func(ctx context.Context, key string) (bool, error) { return postOnce(ctx, web, c.Addrs(i).HTTP, key) },
				"gRPC": func(ctx context.Context, key string) (bool, error) { return callOnce(ctx, c.Addrs(i).GRPC, key) },
			} {
				calls.Go(func() {
					for n := 0; !started.Load(); n++ {
						reached, err := call(ctx, fmt.Sprint("starting/", i, kind, k, "/", n))
						if reached && err != nil {
							t.Errorf("node %d, %s: %v", i, kind, err)
						}
						if reached && err == nil {
							served.Add(1)
						}
					}
				})
			}
		}
		err := c.Restart(ctx, i)
		if err == nil {
			err = c.WaitReady(ctx)
		}
		started.Store(true)
		calls.Wait()
		must(t, err)
		if served.Load() == 0 {
			t.Errorf("node %d: nothing was served while it started", i)
		}
	}
}

// Q3: the time that a caller must deduct from a lock includes the time for which its call was held
// while the node started. It may be longer than the lock's TTL.
func TestSimHeldCallCounts(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(inRAM(t), cluster.Options{Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax})
		ctx := patient(t)
		c.Kill(0)
		c.Split([]int{0}, []int{1, 2})
		must(t, c.Restart(ctx, 0))
		const ttl = 3 * time.Second
		began := time.Now()
		time.AfterFunc(3*ttl, c.Heal)
		h, err := c.Node(0).Acquire(ctx, sharelock.AcquireRequest{Key: "k", ClientID: "c", TTL: ttl, Wait: time.Minute})
		must(t, err)
		took := time.Since(began)
		if took < 3*ttl {
			t.Fatalf("granted after %v, without being held", took)
		}
		if h.SafeFor-took < ttl/4 || h.SafeFor-took > ttl {
			t.Errorf("granted after %v, good for %v from the call, with a TTL of %v", took, h.SafeFor, ttl)
		}
	})
}

// Q4: a node that has served and is cut off says so at once, also if so far it was called only
// through sessions.
func TestSimCutOffNodeHoldsNothing(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(inRAM(t), cluster.Options{Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax})
		ctx := patient(t)
		must(t, c.WaitReady(ctx))
		c.Split([]int{0}, []int{1, 2})
		until(ctx, t, "it is cut off", func() bool { return c.Node(0).Ready() != nil })
		began := time.Now()
		_, err := c.Node(0).Acquire(ctx, sharelock.AcquireRequest{Key: "k", ClientID: "c", TTL: time.Second, Wait: time.Minute})
		if took := time.Since(began); took != 0 || !errors.Is(err, sharelock.ErrNoQuorum) && !errors.Is(err, sharelock.ErrNotReady) {
			t.Errorf("%v after %v", err, took)
		}
		c.Heal()
	})
}

// postOnce acquires a key over HTTP; reached is false if nobody accepted the connection.
func postOnce(ctx context.Context, web *http.Client, addr, key string) (reached bool, _ error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/locks/"+key,
		bytes.NewReader([]byte(`{"clientId":"w","wait":"60s","ttl":"1s"}`)))
	if err != nil {
		return true, err
	}
	resp, err := web.Do(req)
	if err != nil {
		return false, err
	}
	body, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return true, err
}

// callOnce acquires a key by a single gRPC call; reached is false if nobody accepted the connection.
func callOnce(ctx context.Context, addr, key string) (reached bool, _ error) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return true, err
	}
	defer conn.Close() //nolint:errcheck // nothing is lost by it
	_, err = sharelockv1.NewLockServiceClient(conn).Acquire(ctx, &sharelockv1.AcquireRequest{
		Key: key, ClientId: "w", Wait: durationpb.New(time.Minute), Ttl: durationpb.New(time.Second),
	})
	if err == nil {
		return true, nil
	}
	// The details of the node's own errors tell them apart.
	word := sharelockv1.FromError(err)
	return sharelockv1.Reason(word) != "INTERNAL", word
}
