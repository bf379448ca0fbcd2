//go:build linux

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/workload"
)

// Settings from scripts/hostile.
const (
	// hostileEnv is short or full; without it the test is skipped.
	hostileEnv = "SHARELOCK_HOSTILE"
	// hostileBinaryEnv is the path of sharelock.
	hostileBinaryEnv = "SHARELOCK_HOSTILE_BINARY"
	// hostileWatchEnv, if it is set, makes the hostile client watch, too.
	hostileWatchEnv = "SHARELOCK_HOSTILE_WATCH"
)

const (
	innocents = 300
	// innocentRest is how long an innocent client pauses between its acquires.
	innocentRest = 2 * time.Second
	// mostSlower bounds the innocents' p99 beside the hostile client, as a multiple of that beside an
	// honest one.
	mostSlower = 3
	// sameRate is how close the honest client's rates must come to those of the hostile one.
	sameRate = 0.9
	// mostShare bounds the processors that the hostile client itself uses.
	mostShare = 0.5
)

// TestHostile runs one client that does the worst that its rights allow, beside innocent ones, while the
// nodes restart in turn. Then it runs an honest client with the same rates of calls and bytes instead. It
// compares what the innocent clients notice.
func TestHostile(t *testing.T) {
	mode := os.Getenv(hostileEnv)
	if mode == "" {
		t.Skip("half an hour with a hostile client: make hostile")
	}
	// The hostile part is the longer one.
	hostile, honest, rest := 20*time.Minute, 10*time.Minute, 20*time.Second
	if mode == "short" {
		hostile, honest, rest = time.Minute, 40*time.Second, 2*time.Second
	}
	var worst, usual noticed
	t.Run("hostile", func(t *testing.T) { worst = besides(t, order{Role: "hostile", Time: hostile}, rest) })
	t.Run("honest", func(t *testing.T) {
		usual = besides(t, order{
			Role: "honest", Time: honest, Rate: worst.client.rate(),
			Bytes: int(worst.client.Bytes / max(worst.client.Calls, 1)),
		}, rest)
	})
	slower := float64(worst.p99) / float64(max(usual.p99, 1))
	t.Logf("\n%s%s%s", worst, usual, fmt.Sprintf("innocent p99, hostile / honest: %.2f (at most %d)", slower, mostSlower))
	if slower > mostSlower {
		t.Errorf("the innocents' p99 is %.2f times that beside an honest client", slower)
	}
	if worst.failed+usual.failed > 0 {
		t.Errorf("innocent requests failed: %d beside the hostile client, %d beside the honest one", worst.failed, usual.failed)
	}
	// The honest client must make as many calls, with as many bytes, or the comparison says nothing.
	for what, rates := range map[string][2]float64{
		"calls": {worst.client.rate(), usual.client.rate()},
		"bytes": {worst.client.byteRate(), usual.client.byteRate()},
	} {
		if rates[1] < sameRate*rates[0] {
			t.Errorf("the honest client made %.0f %s per second, the hostile one %.0f", rates[1], what, rates[0])
		}
	}
	if worst.share > mostShare*1.1 {
		t.Errorf("the hostile client took %.2f processors, more than it may", worst.share)
	}
}

// noticed holds the measurements of one part.
type noticed struct {
	client         summary
	share          float64 // number of processors that the client used
	restarts       int
	lost, failed   int
	full           int64
	p50, p99, most time.Duration
	asked          uint64
	// memory is the maximum memory of a node, in bytes.
	memory int64
}

func (o noticed) String() string {
	return fmt.Sprintf("%-8s %7.0f calls/s, %6.2f MiB/s, %.2f processors; refused: %v\n"+
		"         %d restarts; innocent: %d of %d locks lost, %d of %d requests failed, %d found no room, p50 %v, p99 %v, most %v\n",
		o.client.Role+":", o.client.rate(), o.client.byteRate()/(1<<20), o.share, o.client.Refused,
		o.restarts, o.lost, innocents, o.failed, o.asked, o.full,
		o.p50.Round(time.Microsecond), o.p99.Round(time.Microsecond), o.most.Round(time.Millisecond))
}

// besides runs innocent clients and the client of the order, in a new mesh, while the nodes restart in
// turn with pauses.
func besides(t *testing.T, o order, rest time.Duration) noticed {
	t.Helper()
	return besidesIn(t, o, rest, func(*rehearsal) {})
}

// besidesIn is besides in a mesh that prepare changes before it starts.
func besidesIn(t *testing.T, o order, rest time.Duration, prepare func(r *rehearsal)) (out noticed) {
	t.Helper()
	r := newRehearsal(t, 3, "")
	prepare(r)
	for i := range 3 {
		r.procs = append(r.procs, &proc{name: string(rune('a' + i)), host: r.host(i), program: os.Getenv(hostileBinaryEnv), log: &buffer{}})
	}
	nodes := r.form(3)
	crowd := newInnocents(t, r, nodes)
	for _, p := range nodes {
		o.Addrs = append(o.Addrs, p.host+":50052")
	}
	o.Result = filepath.Join(t.TempDir(), "summary.json")
	cmd := o.start(t)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	out.restarts, out.memory = restartInTurn(r, nodes, ended, rest)
	out.client = o.summary(t)
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	out.share = used.Seconds() / out.client.Elapsed.Seconds()
	r.await("the mesh is whole in the end", time.Minute, func() bool { return r.whole(nodes...) })
	crowd.end(&out)
	if out.lost > 0 {
		t.Errorf("%d innocent locks were lost", out.lost)
	}
	return out
}

// restartInTurn stops and starts one node after the other until the client has ended. It returns how
// often, and the maximum memory that a node had before a restart.
func restartInTurn(r *rehearsal, nodes []*proc, ended <-chan error, rest time.Duration) (n int, memory int64) {
	for ; ; n++ {
		select {
		case err := <-ended:
			if err != nil {
				r.t.Fatalf("the client failed: %v", err)
			}
			for _, p := range nodes {
				memory = max(memory, peak(p))
			}
			return n, memory
		case <-time.After(rest):
		}
		p := nodes[n%len(nodes)]
		memory = max(memory, peak(p))
		r.stop(p)
		r.again(p)
		r.await(p.name+" is back", time.Minute, func() bool { return r.whole(nodes...) })
	}
}

// crowd holds the innocent clients: each holds one lock all the time, and acquires and releases another one
// now and then.
type crowd struct {
	t       *testing.T
	clients []*client.Client
	held    []*client.Lock
	stop    chan struct{}
	work    sync.WaitGroup
	took    workload.Histogram
	// full counts the requests for keys in partitions without room.
	full atomic.Int64

	mu     sync.Mutex
	failed []string // guarded by mu
}

func newInnocents(t *testing.T, r *rehearsal, nodes []*proc) *crowd {
	t.Helper()
	c := &crowd{t: t, stop: make(chan struct{})}
	for range 10 {
		c.clients = append(c.clients, r.clients(nodes...)...)
	}
	for i := range innocents {
		lock, err := c.of(i).Acquire(context.Background(), heldKey(i), client.TTL(longTTL))
		if err != nil {
			t.Fatal(err)
		}
		c.held = append(c.held, lock)
		c.work.Go(func() { c.live(i) })
	}
	return c
}

// heldKey returns the key of the lock that an innocent client holds all the time.
func heldKey(i int) string { return fmt.Sprintf("innocent/held/%d", i) }

func (c *crowd) of(i int) *client.Client { return c.clients[i%len(c.clients)] }

// live runs one client's work besides its held lock.
func (c *crowd) live(i int) {
	key := fmt.Sprintf("innocent/now/%d", i)
	rest := time.NewTimer(innocentRest * time.Duration(i) / innocents) // so that they spread
	defer rest.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-rest.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		began := time.Now()
		lock, err := c.of(i).Acquire(ctx, key, client.TTL(longTTL))
		c.took.Record(time.Since(began))
		if err == nil {
			err = lock.Release(ctx)
		}
		cancel()
		switch {
		case errors.Is(err, sharelock.ErrQuota):
			c.full.Add(1) // the key's partition is full
		case err != nil:
			c.mu.Lock()
			c.failed = append(c.failed, fmt.Sprintf("%s %s: %v", time.Now().Format("15:04:05.000"), key, err))
			c.mu.Unlock()
		}
		rest.Reset(innocentRest)
	}
}

// end counts the lost locks, as the clients and the mesh report them.
func (c *crowd) end(out *noticed) {
	close(c.stop)
	c.work.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i, l := range c.held {
		check, err := c.of(i).CheckToken(ctx, l.Key(), l.Token())
		if cmp.Or(l.Err(), err) != nil || !check.Current {
			out.lost++
			c.t.Logf("lost %s: %v", l.Key(), cmp.Or(l.Err(), err, errors.New("the mesh does not know it")))
		}
	}
	out.p50, out.p99, out.most, out.asked = c.took.Quantile(0.5), c.took.Quantile(0.99), c.took.Max(), c.took.Count()
	out.failed, out.full = len(c.failed), c.full.Load()
	for _, f := range c.failed[:min(len(c.failed), 5)] {
		c.t.Log(f)
	}
}

// order says what the one client has to do, in a process of its own.
type order struct {
	Role   string // hostile, stranger or honest
	Addrs  []string
	Time   time.Duration
	Result string // the file for its summary
	// Rate and Bytes are an honest client's calls per second, and bytes of metadata in each.
	Rate  float64
	Bytes int
	// CA and Token are the file of the authority and the token of an honest client, if the mesh uses
	// them.
	CA, Token string
}

// summary says what the client did.
type summary struct {
	Role         string
	Calls, Bytes int64
	Elapsed      time.Duration
	Refused      map[string]int64
}

func (s summary) rate() float64 { return float64(s.Calls) / max(s.Elapsed.Seconds(), 1) }

func (s summary) byteRate() float64 { return float64(s.Bytes) / max(s.Elapsed.Seconds(), 1) }

// orderEnv has the order for the process of the client, as JSON.
const orderEnv = "SHARELOCK_HOSTILE_ORDER"

func (o order) start(t *testing.T) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestHostileClient$", "-test.timeout", "2h")
	cmd.Env = append(os.Environ(), orderEnv+"="+string(text))
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill() //nolint:errcheck // the test failed before it ended
		}
		if t.Failed() {
			t.Logf("the %s client: %s", o.Role, output.String())
		}
	})
	return cmd
}

func (o order) summary(t *testing.T) (s summary) {
	t.Helper()
	text, err := os.ReadFile(o.Result)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}
