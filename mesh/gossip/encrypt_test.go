package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/sgkandale/sharelock/mesh/keyring"
)

// testKey is a key that is the same in each run.
func testKey(n byte) keyring.Key {
	k := keyring.Key{n}
	return k
}

// with configures encryption.
func with(mode keyring.Mode, keys ...keyring.Key) func(*Config) {
	return func(c *Config) { c.Encryption, c.Keys = mode, keys }
}

// lines collects a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// about returns the lines that have text in them.
func (l *lines) about(text string) (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			list = append(list, line)
		}
	}
	return list
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// announce is what a node does: it says which keys it has.
func announced(c *Config) {
	if c.Encryption == keyring.Migrate || c.Encryption == keyring.Required {
		for _, f := range c.Keys.Fingerprints() {
			c.Meta.GossipKeys = append(c.Meta.GossipKeys, f[:])
		}
	}
}

// again starts a process anew with another encryption.
func (gs *gossips) again(name string, counter uint64, how func(*Config)) *Gossip {
	gs.t.Helper()
	if gs.all[name] != nil {
		gs.kill(name)
	}
	return gs.start(testMeta(name, counter), func(c *Config) { how(c); announced(c) }, "a", "b", "c")
}

// Who has the key is let in, who has another or none is not. Both sides say so, once a minute for
// an address.
func TestGossipRefusesUnknownKeys(t *testing.T) {
	for name, test := range map[string]struct {
		stranger      func(*Config)
		inside, there string // what the two sides say
	}{
		"another key": {with(keyring.Required, testKey(9)), whyUnknownKey, whyUnknownKey},
		"ours as the second key": {
			with(keyring.Required, testKey(9), testKey(1)), whyUnknownKey, whyOwnKey,
		},
		"no keys":             {with(keyring.Off), whyPlain, whySealed},
		"migrates, no keys":   {with(keyring.Migrate), whyPlain, whySealed},
		"migrates, other key": {with(keyring.Migrate, testKey(9)), whyUnknownKey, whyUnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			gossipBubble(t, func(gs *gossips) {
				var logs [2]lines
				ours := with(keyring.Required, testKey(1))
				a := gs.start(testMeta("a", 1), func(c *Config) { ours(c); c.Log = logs[0].logger() }, "a")
				b := gs.start(testMeta("b", 1), ours, "a")
				gs.expect(5*time.Second, "a.1 b.1", a, b)
				x := gs.start(testMeta("x", 1), func(c *Config) { test.stranger(c); c.Log = logs[1].logger() }, "a")
				gs.stays(3*time.Minute, "a.1 b.1", a, b)
				if got := seen(x); got != "x.1" {
					t.Errorf("the stranger sees %q", got)
				}
				for i, want := range []string{test.inside, test.there} {
					got := logs[i].about(want)
					if len(got) == 0 || len(got) > 4 {
						t.Errorf("side %d says %d times in 3 minutes that %q, want once a minute:\n%s", i, len(got), want, logs[i].buf.String())
					}
				}
			})
		})
	}
}

// Encryption is turned on in a mesh that lives, one process after the other, and off again. All see
// one another after each step.
func TestGossipMigrates(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		names := []string{"a", "b", "c"}
		all := map[string]*Gossip{}
		counters := map[string]uint64{}
		check := func(step string) {
			t.Helper()
			t.Log(step)
			var want []string
			for _, n := range names {
				want = append(want, fmt.Sprintf("%s.%d", n, counters[n]))
			}
			gs.expect(time.Minute, strings.Join(want, " "), all["a"], all["b"], all["c"])
		}
		roll := func(step string, how func(*Config)) {
			for _, n := range names {
				counters[n]++
				all[n] = gs.again(n, counters[n], how)
				if counters["c"] > 0 {
					check(step + " at " + n)
				}
			}
		}
		roll("off", with(keyring.Off))
		check("off")
		roll("migrate", with(keyring.Migrate, testKey(1)))
		roll("required", with(keyring.Required, testKey(1)))
		roll("migrate back", with(keyring.Migrate, testKey(1)))
		roll("off again", with(keyring.Off))
	})
}

// Keys that are installed while a mesh migrates are used at once, and the mesh can require them then.
func TestGossipMigratesWithoutKeysAtFirst(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		a, b, c := gs.again("a", 1, with(keyring.Migrate)), gs.again("b", 1, with(keyring.Migrate)), gs.again("c", 1, with(keyring.Migrate))
		gs.expect(time.Minute, "a.1 b.1 c.1", a, b, c)
		f := testKey(1).Fingerprint()
		for _, g := range []*Gossip{a, b, c} {
			if err := g.SetKeys(keyring.Ring{testKey(1)}); err != nil {
				t.Fatal(err)
			}
			meta := testMeta(g.cfg.Meta.GetName(), 1)
			meta.GossipKeys = [][]byte{f[:]}
			if err := g.UpdateMeta(meta); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, time.Minute, "all know that all have the key", func() bool {
			return !slices.ContainsFunc([]*Gossip{a, b, c}, func(g *Gossip) bool {
				return slices.ContainsFunc([]*Gossip{a, b, c}, func(to *Gossip) bool { return to != g && !g.sealer.reads(to.Addr()) })
			})
		})
		a = gs.again("a", 2, with(keyring.Required, testKey(1)))
		gs.expect(time.Minute, "a.2 b.1 c.1", a, b, c)
	})
}

// Processes that migrate with different keys, by mistake, go on as they did.
func TestGossipMigratesWithOtherKeys(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		a := gs.again("a", 1, with(keyring.Migrate, testKey(1)))
		b := gs.again("b", 1, with(keyring.Migrate, testKey(2)))
		c := gs.again("c", 1, with(keyring.Off))
		gs.expect(time.Minute, "a.1 b.1 c.1", a, b, c)
		gs.stays(time.Minute, "a.1 b.1 c.1", a, b, c)
	})
}

// The keys of a mesh are rotated while it lives; nobody is taken for dead at any time. Then the old
// key opens nothing.
func TestGossipRotates(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		before, after := testKey(1), testKey(2)
		a, b, c := gs.again("a", 1, with(keyring.Required, before)), gs.again("b", 1, with(keyring.Required, before)), gs.again("c", 1, with(keyring.Required, before))
		gs.expect(time.Minute, "a.1 b.1 c.1", a, b, c)
		for _, ring := range []keyring.Ring{{before, after}, {after, before}, {after}} {
			for _, g := range []*Gossip{a, b, c} {
				if err := g.SetKeys(ring); err != nil {
					t.Fatal(err)
				}
				gs.stays(10*time.Second, "a.1 b.1 c.1", a, b, c)
			}
		}
		c = gs.again("c", 2, with(keyring.Required, before))
		gs.expect(time.Minute, "a.1 b.1", a, b)
		gs.expect(time.Minute, "c.2", c)
		c = gs.again("c", 3, with(keyring.Required, after))
		gs.expect(time.Minute, "a.1 b.1 c.3", a, b, c)
	})
}

// Without keys nothing is encrypted, so that this must not be taken for encryption.
func TestGossipRequiresKeys(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		cfg := Config{Meta: testMeta("a", 1), Listen: ":7946", Network: gs.net.Host("a"), Log: quiet(), Encryption: keyring.Required}
		if g, err := Start(cfg); !errors.Is(err, errNoKeys) {
			t.Errorf("start without keys: %v, %v", g, err)
		}
		a := gs.again("a", 1, with(keyring.Required, testKey(1)))
		if err := a.SetKeys(nil); !errors.Is(err, errNoKeys) {
			t.Errorf("no keys any more: %v", err)
		}
		b := gs.again("b", 1, with(keyring.Off))
		if err := b.SetKeys(keyring.Ring{testKey(1)}); err != nil {
			t.Errorf("keys of a process that does not encrypt: %v", err)
		}
	})
}

// setKeys replaces all keys, the first is the primary.
func TestSetKeys(t *testing.T) {
	ring, err := memberlist.NewKeyring(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range []string{"a", "ab", "ba", "abcd", "bd", "d", "efg", "fge", "g", "hi"} {
		keys := keysOf(names)
		if err := setKeys(ring, keys); err != nil {
			t.Fatal(err)
		}
		got := ring.GetKeys()
		if len(got) != len(keys) || !bytes.Equal(got[0], keys[0]) || slices.ContainsFunc(keys, func(k []byte) bool {
			return !slices.ContainsFunc(got, func(g []byte) bool { return bytes.Equal(g, k) })
		}) {
			t.Errorf("ring %q: it has %d keys, the first is %q", names, len(got), got[0][0])
		}
	}
}

func keysOf(names string) (keys [][]byte) {
	for _, n := range []byte(names) {
		k := testKey(n)
		keys = append(keys, k[:])
	}
	return keys
}

// memberlist decrypts with a slice of keys that it looks at without a lock: setKeys must not move
// the keys in it. (The race detector sees it, too.)
func TestSetKeysBesideReaders(t *testing.T) {
	ring, err := memberlist.NewKeyring(keysOf("abcd"), keysOf("a")[0])
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		for {
			keys := ring.GetKeys()
			for range 20 {
				runtime.Gosched()
				seen := map[byte]bool{}
				for _, k := range keys {
					if seen[k[0]] {
						t.Errorf("a reader sees key %q twice, and misses another", k[0])
						return
					}
					seen[k[0]] = true
				}
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for range 2000 {
		for _, names := range []string{"abcd", "bd", "cab", "dc"} {
			if err := setKeys(ring, keysOf(names)); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(done)
	readers.Wait()
}

// What is logged of strangers is bounded, whoever they say they are.
func TestRefusalsAreBounded(t *testing.T) {
	gossipBubble(t, func(*gossips) {
		var out lines
		r := refusals{log: out.logger()}
		flood := func() {
			for i := range 1000 {
				r.note(fmt.Sprintf("10.0.%d.%d:%d", i/250, i%250, 7946+i), whyPlain)
				r.note(fmt.Sprintf("10.0.%d.%d:%d", i/250, i%250, 10000+i), whyPlain)
			}
		}
		flood()
		if got := len(out.about("not possible")); got != maxRefusals {
			t.Errorf("%d lines in a minute, want %d", got, maxRefusals)
		}
		time.Sleep(refusalWindow + time.Second)
		flood()
		if got := len(out.about("not possible")); got != 2*maxRefusals+1 {
			t.Errorf("%d lines in two minutes, want %d", got, 2*maxRefusals+1)
		}
		if got := out.about("lines=1984"); len(got) != 1 {
			t.Errorf("the lines that were left out are not counted:\n%s", out.buf.String())
		}
	})
}
