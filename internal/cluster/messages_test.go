package cluster_test

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/owner"
)

// ownedBy returns a key of node i.
func ownedBy(t *testing.T, c *cluster.Cluster, i int) string {
	t.Helper()
	for _, key := range keysNamed("k", 200) {
		if c.Owner(key) == i {
			return key
		}
	}
	t.Fatalf("node %d owns none of 200 keys", i)
	return ""
}

// TestSimMessages tries every action of a rule on messages.
func TestSimMessages(t *testing.T) {
	const away = 3 * time.Second
	for _, test := range []struct {
		name string
		kind cluster.Kind
		// from and to: node 0 asks node 1, which owns the key and has node 2 as a backup.
		from, to int
		rule     func(c *cluster.Cluster, m cluster.Messages) *cluster.Rule
		// atLeast and within bound the duration of the acquire: until the rule ends, unless a complaint
		// (V6) has led to a view before.
		atLeast, within time.Duration
	}{
		{"a call is held", cluster.Calls, 0, 1, (*cluster.Cluster).HoldMessages, time.Second, away + 2*time.Second},
		{"an answer is held", cluster.Answers, 1, 0, (*cluster.Cluster).HoldMessages, time.Second, away + 2*time.Second},
		{"a call is dropped", cluster.Calls, 0, 1, (*cluster.Cluster).DropMessages, time.Second, away + 2*time.Second},
		{"an answer is dropped", cluster.Answers, 1, 0, (*cluster.Cluster).DropMessages, time.Second, away + 2*time.Second},
		{"entries are held", cluster.Entries, 1, cluster.Anyone, (*cluster.Cluster).HoldMessages, time.Second, away + 2*time.Second},
		{"acks are held", cluster.Acks, cluster.Anyone, 1, (*cluster.Cluster).HoldMessages, time.Second, away + 2*time.Second},
		{"entries are repeated", cluster.Entries, 1, cluster.Anyone, repeated, 0, time.Second},
		{"acks are repeated", cluster.Acks, cluster.Anyone, 1, repeated, 0, time.Second},
		{"answers are repeated", cluster.Answers, 1, 0, repeated, 0, time.Second},
		{"calls are late", cluster.Calls, 0, 1, delayed, 500 * time.Millisecond, time.Second},
		{"session calls are held", cluster.SessionCalls, cluster.Clients, 0, (*cluster.Cluster).HoldMessages, away, away + time.Second},
		{"session answers are held", cluster.SessionAnswers, 0, cluster.Clients, (*cluster.Cluster).HoldMessages, away, away + time.Second},
		{"session answers are dropped", cluster.SessionAnswers, 0, cluster.Clients, (*cluster.Cluster).DropMessages, away, away + 2*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c := cluster.Start(t, cluster.Options{Net: cluster.Memory, MaxTTL: 10 * time.Second, Configure: copies(3)})
				ctx := limited(t)
				cl, err := c.Dial(ctx, client.Options{ClientID: "c"}, 0)
				must(t, err)
				key := ownedBy(t, c, 1)
				rule := test.rule(c, cluster.Messages{From: test.from, To: test.to, Kinds: []cluster.Kind{test.kind}})
				time.AfterFunc(away, rule.End)
				begin := time.Now()
				l, err := cl.Acquire(ctx, key)
				must(t, err)
				if took := time.Since(begin); took < test.atLeast || took > test.within {
					t.Errorf("the acquire took %v, want %v to %v", took, test.atLeast, test.within)
				}
				if rule.Met() == 0 {
					t.Error("no message has met the rule")
				}
				must(t, l.Release(ctx))
				must(t, c.WaitReady(ctx))
				must(t, c.CheckCopies(ctx))
			})
		})
	}
}

// Q2: an id that was sent once is over with its release, so its call must not arrive twice, whatever
// is repeated.
func TestSimCallsComeOnce(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, MaxTTL: 10 * time.Second})
		ctx := limited(t)
		cl, err := c.Dial(ctx, client.Options{ClientID: "c", OnlyAddrs: true}, 0)
		must(t, err)
		key := ownedBy(t, c, 1)
		rule := repeated(c, cluster.Messages{From: 0, To: 1})
		l, err := cl.Acquire(ctx, key)
		must(t, err)
		must(t, l.Release(ctx))
		pause(ctx, 2*time.Second)
		if rule.Met() == 0 {
			t.Error("no message has met the rule")
		}
		next, err := cl.TryAcquire(ctx, key)
		if err != nil {
			t.Fatalf("the key that was released is held: %v", err)
		}
		must(t, next.Release(ctx))
	})
}

func repeated(c *cluster.Cluster, m cluster.Messages) *cluster.Rule {
	return c.RepeatMessages(m, 0, time.Second)
}

func delayed(c *cluster.Cluster, m cluster.Messages) *cluster.Rule {
	return c.DelayMessages(m, 500*time.Millisecond, 0)
}

func TestSimPause(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, MaxTTL: 10 * time.Second})
		ctx := limited(t)
		key := ownedBy(t, c, 1)
		pause := c.PauseAt(1, owner.PointAnswer)
		begin := time.Now()
		go func() { _ = pause.Stand(ctx, 100*time.Millisecond) }()
		l, err := c.Client(1).Acquire(ctx, key)
		must(t, err)
		if took := time.Since(begin); took < 100*time.Millisecond {
			t.Errorf("the acquire took %v, want at least the pause", took)
		}
		must(t, l.Release(ctx))
	})
}
