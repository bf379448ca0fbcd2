//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"github.com/sgkandale/sharelock/ring"
)

// TestHostileClient is run as the process of the hostile client, or of the honest one, of TestHostile.
func TestHostileClient(t *testing.T) {
	text := os.Getenv(orderEnv)
	if text == "" {
		t.Skip("a process of TestHostile")
	}
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.Time)
	defer cancel()
	v := newVillain(t, o)
	began := time.Now()
	switch o.Role {
	case "hostile":
		v.doItsWorst(ctx)
	case "stranger":
		v.intrude(ctx)
	default:
		v.behave(ctx, o)
	}
	s := summary{Role: o.Role, Calls: v.calls.Load(), Bytes: v.bytes.Load(), Elapsed: time.Since(began), Refused: v.refused}
	result, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Result, result, 0o600); err != nil {
		t.Fatal(err)
	}
}

// connections is how many connections it has to every node: enough to use up all room for finished request
// ids, of which each connection may use an eighth.
const connections = 3

// villain is a client that uses whatever it is allowed: calls of the API, over connections to every node.
type villain struct {
	t     *testing.T
	addrs []string
	nodes []sharelockv1.LockServiceClient
	next  atomic.Int64
	// web is for a stranger's calls over HTTP.
	web *http.Client

	began        time.Time
	calls, bytes atomic.Int64
	mu           sync.Mutex
	refused      map[string]int64 // by code; guarded by mu
}

func newVillain(t *testing.T, o order) *villain {
	t.Helper()
	v := &villain{t: t, addrs: o.Addrs, began: time.Now(), refused: map[string]int64{}}
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if o.CA != "" {
		options = o.dialOptions(t)
	}
	if o.Role == "stranger" {
		v.web = strangersWeb(t)
		options = append(options, grpc.WithPerRPCCredentials(bearerToken("slk_guessed")), grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return strangersHost.DialContext(ctx, "tcp", addr)
		}))
	}
	for i := range connections * len(o.Addrs) {
		conn, err := grpc.NewClient(o.Addrs[i%len(o.Addrs)], options...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() }) //nolint:errcheck // the process ends
		v.nodes = append(v.nodes, sharelockv1.NewLockServiceClient(conn))
	}
	return v
}

// breathe keeps the process within its share of the processors.
func (v *villain) breathe(ctx context.Context) {
	for ctx.Err() == nil {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			v.t.Error(err)
			return
		}
		used := time.Duration(u.Utime.Nano() + u.Stime.Nano())
		ahead := used - time.Duration(mostShare*float64(time.Since(v.began)))
		if ahead <= 0 {
			return
		}
		pauseFor(ctx, 2*ahead)
	}
}

func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// node returns the next node; calls use all nodes in turn.
func (v *villain) node() sharelockv1.LockServiceClient {
	return v.nodes[int(v.next.Add(1))%len(v.nodes)]
}

// did counts a call.
func (v *villain) did(bytes int, err error) error {
	v.calls.Add(1)
	v.bytes.Add(int64(bytes))
	if err != nil && status.Code(err) != codes.Canceled {
		kind := "in a session"
		if s, ok := status.FromError(err); ok {
			kind = s.Code().String()
		}
		v.mu.Lock()
		v.refused[kind]++
		v.mu.Unlock()
	}
	return err
}

// acquire makes one call, which waits for as long as the request says.
func (v *villain) acquire(ctx context.Context, r *sharelockv1.AcquireRequest) (*sharelockv1.Hold, error) {
	size := len(r.GetKey()) + len(r.GetRequestId()) + len(r.GetClientId())
	for k, m := range r.GetMetadata() {
		size += len(k) + len(m)
	}
	resp, err := v.node().Acquire(ctx, r)
	return resp.GetHold(), v.did(size, err)
}

func (v *villain) release(ctx context.Context, h *sharelockv1.Hold) {
	// The call does not say that the id was sent only once, so the id is remembered (Q2).
	_, err := v.node().Release(ctx, &sharelockv1.ReleaseRequest{Key: h.GetKey(), Token: h.GetToken()})
	v.did(len(h.GetKey())+8, err) //nolint:errcheck // counted
}

// most returns metadata of the maximum size.
func most() map[string]string {
	return map[string]string{"x": strings.Repeat("y", sharelock.MaxMetadataBytes-1)}
}

func request(key string) *sharelockv1.AcquireRequest {
	return &sharelockv1.AcquireRequest{
		Key: key, ClientId: "hostile", RequestId: fmt.Sprintf("%032x%032x", rand.Uint64(), rand.Uint64()), //nolint:gosec // not a secret
		Ttl: durationpb.New(longTTL), Wait: durationpb.New(0),
	}
}

// doItsWorst does everything that its rights allow, all at the same time.
func (v *villain) doItsWorst(ctx context.Context) {
	// Partitions in which innocent clients have locks.
	ids, metadata := beside(0, "hostile/ids", 64), beside(1, "hostile/metadata", 10000)
	semaphores := slices.Concat(beside(2, "hostile/semaphore", 1), beside(3, "hostile/semaphore", 1))
	const many = 32
	tasks := []task{
		{many, func(ctx context.Context, worker, round int) { v.ids(ctx, ids[(worker+many*round)%len(ids)], round) }},
		{2, func(ctx context.Context, worker, round int) {
			v.metadata(ctx, metadata[(worker+2*round)%len(metadata)])
		}},
		{2, func(ctx context.Context, worker, round int) { v.semaphore(ctx, semaphores[worker], round) }},
		{200, v.waiter},
		{2, v.sessions},
		{2, v.lists},
	}
	if os.Getenv(hostileWatchEnv) != "" {
		tasks = append(tasks, task{100, v.watch})
	}
	v.all(ctx, tasks)
}

// task is something that a number of workers do repeatedly.
type task struct {
	workers int
	do      func(ctx context.Context, worker, round int)
}

// all runs all tasks at the same time, within the share of the processors.
func (v *villain) all(ctx context.Context, tasks []task) {
	var work sync.WaitGroup
	for _, task := range tasks {
		for worker := range task.workers {
			work.Go(func() {
				for round := 0; ctx.Err() == nil; round++ {
					v.breathe(ctx)
					task.do(ctx, worker, round)
				}
			})
		}
	}
	work.Wait()
}

// partitions is the default number of partitions.
const partitions = 1024

// beside returns keys in the partition of the lock that an innocent client holds. Anyone can compute the
// partition of a key.
func beside(innocent int, name string, n int) (keys []string) {
	partition := ring.PartitionOf(heldKey(innocent), partitions)
	for i := 0; len(keys) < n; i++ {
		if key := fmt.Sprint(name, "/", i); ring.PartitionOf(key, partitions) == partition {
			keys = append(keys, key)
		}
	}
	return keys
}

// ids makes one partition remember as many request ids as possible: those of locks that it releases, and
// of unknown requests that it gives up.
func (v *villain) ids(ctx context.Context, key string, round int) {
	r := request(key)
	if round%3 == 0 {
		_, err := v.node().GiveUp(ctx, &sharelockv1.GiveUpRequest{Key: key, ClientId: r.GetClientId(), RequestId: r.GetRequestId()})
		v.did(len(key)+len(r.GetClientId())+len(r.GetRequestId()), err) //nolint:errcheck // counted
		return
	}
	r.Ttl = durationpb.New(time.Second) // a lock whose answer is lost is free again soon
	if h, err := v.acquire(ctx, r); err == nil {
		v.release(ctx, h)
	}
}

// metadata holds many locks of one partition with as many bytes as possible, and lets them expire.
func (v *villain) metadata(ctx context.Context, key string) {
	r := request(key)
	r.Metadata = most()
	v.acquire(ctx, r) //nolint:errcheck // counted
}

// semaphore adds as many holders to one key as possible, and reads them all.
func (v *villain) semaphore(ctx context.Context, key string, round int) {
	r := request(key)
	r.Slots, r.Metadata = sharelock.MaxSlots, most()
	v.acquire(ctx, r) //nolint:errcheck // counted
	if round%10 == 0 {
		_, err := v.node().Get(ctx, &sharelockv1.GetRequest{Key: r.GetKey()})
		v.did(len(r.GetKey()), err) //nolint:errcheck // counted
	}
}

// waiter waits in the queue of one of a few keys, and gives up half of the time.
func (v *villain) waiter(ctx context.Context, worker, round int) {
	r := request(fmt.Sprintf("hostile/queue/%d", worker%4))
	r.Wait, r.Metadata = durationpb.New(10*time.Second), most()
	patience := 10 * time.Second
	if round%2 == 1 {
		patience = 100 * time.Millisecond
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if h, err := v.acquire(wait, r); err == nil && round%3 != 0 {
		v.release(ctx, h)
	}
}

// sessions opens one session after the other, acquires locks in it and closes it.
func (v *villain) sessions(ctx context.Context, worker, round int) {
	c, err := client.Dial(ctx, v.addrs, client.Options{ClientID: "hostile"})
	if v.did(0, err) != nil {
		pauseFor(ctx, 10*time.Millisecond)
		return
	}
	defer c.Close() //nolint:errcheck // the next one comes
	for i := range 20 {
		wait, cancel := context.WithTimeout(ctx, time.Second)
		l, err := c.TryAcquire(wait, fmt.Sprintf("hostile/session/%d/%d", worker, i), client.TTL(sharelock.MinTTL*3))
		if v.did(20, err) == nil && round%2 == 0 {
			v.did(20, l.Release(wait)) //nolint:errcheck // counted
		}
		cancel()
	}
}

// lists reads everything, in the largest pages.
func (v *villain) lists(ctx context.Context, _, _ int) {
	token := ""
	for ctx.Err() == nil {
		v.breathe(ctx)
		page, err := v.node().List(ctx, &sharelockv1.ListRequest{PageSize: sharelock.MaxPageSize, PageToken: token})
		if v.did(len(token), err) != nil || page.GetNextPageToken() == "" {
			return
		}
		token = page.GetNextPageToken()
	}
}

// watch watches all its keys, or those with a prefix of its own, and reads only a few events.
func (v *villain) watch(ctx context.Context, worker, round int) {
	r := &sharelockv1.WatchRequest{Prefix: "hostile/"}
	if worker%10 > 0 {
		r.Prefix = fmt.Sprintf("hostile/watch/%d/%d", worker, round)
	}
	watch, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stream, err := v.node().Watch(watch, r)
	for i := 0; err == nil && i < 100; i++ {
		_, err = stream.Recv()
	}
	if v.did(len(r.GetPrefix()), err) == nil {
		<-watch.Done()
	}
}

// behave acquires and releases locks, at the hostile client's rates of calls and bytes. It also renews
// them, if the bytes are more than an acquire can contain.
func (v *villain) behave(ctx context.Context, o order) {
	const workers = 32
	// Keys, ids and tokens take about 100 bytes in an acquire and a release, and 20 in a renewal.
	calls, bytes := 2, 2*o.Bytes-100
	if bytes >= sharelock.MaxMetadataBytes {
		calls, bytes = 3, min((3*o.Bytes-120)/2, sharelock.MaxMetadataBytes-1)
	}
	meta := map[string]string{"x": strings.Repeat("y", max(bytes, 0))}
	var due atomic.Int64
	// awaitTurn waits until the next call of all workers is due.
	awaitTurn := func() {
		at := time.Duration(float64(due.Add(1)) / o.Rate * float64(time.Second))
		pauseFor(ctx, at-time.Since(v.began))
	}
	var work sync.WaitGroup
	for worker := range workers {
		work.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				// A key whose release a restart has cut off stays held for its TTL, so no key is used twice.
				r := request(fmt.Sprintf("honest/%d/%d", worker, round))
				r.ClientId, r.Metadata, r.Wait = "honest", meta, durationpb.New(10*time.Second)
				awaitTurn()
				h, err := v.acquire(ctx, r)
				if err == nil && calls == 3 {
					awaitTurn()
					_, err := v.node().Renew(ctx, &sharelockv1.RenewRequest{Key: h.GetKey(), Token: h.GetToken(), Metadata: meta})
					v.did(len(h.GetKey())+8+bytes, err) //nolint:errcheck // counted
				}
				if err == nil {
					awaitTurn()
					v.release(ctx, h)
				}
			}
		})
	}
	work.Wait()
}
