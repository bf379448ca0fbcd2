package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
	"github.com/sgkandale/sharelock/mesh/keyring"
)

// sealed is a mesh whose gossip is encrypted, or will be.
type sealed struct {
	*cluster.Cluster
	mode keyring.Mode
	// first holds the keys that a node without any gets before it starts; file is the keys file.
	first keyring.Ring
	file  string
	log   logBuffer
	// dirs are the data directories.
	dirs [4]string
}

// logBuffer collects the log of all nodes.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func (s *sealed) start(t *testing.T) *sealed {
	t.Helper()
	s.Cluster = cluster.Start(inRAM(t), cluster.Options{
		Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax, Logs: &s.log,
		Configure: func(i int, cfg *mesh.Config) {
			s.dirs[i] = cfg.DataDir
			cfg.Replicas, cfg.GossipEncryption, cfg.GossipKeysFile = 2, s.mode, s.file
			if _, err := os.Stat(filepath.Join(cfg.DataDir, "keyring.json")); err != nil && s.file == "" {
				for _, k := range slices.Backward(s.first) {
					must(t, mesh.InstallGossipKey(cfg.DataDir, k))
				}
			}
		},
	})
	return s
}

// change changes the keyring through node i.
func (s *sealed) change(ctx context.Context, i int, action sharelock.KeyringAction, key string) error {
	_, err := s.Node(i).ChangeKeyring(ctx, sharelock.KeyringChange{Action: action, Key: key})
	return err
}

// expect checks that all members have exactly one key, and returns it.
func (s *sealed) expect(ctx context.Context, t *testing.T, members int, encryption string) keyring.Key {
	t.Helper()
	got, err := s.Node(0).Keyring(ctx, true)
	must(t, err)
	if len(got.Keys) != 1 || got.Keys[0].Installed != members || got.Keys[0].Primary != members || len(got.Members) != members {
		t.Fatalf("the keyring is %+v, want one key on %d members", got, members)
	}
	for _, m := range got.Members {
		if m.Encryption != encryption {
			t.Errorf("%s encrypts %q, want %q", m.Name, m.Encryption, encryption)
		}
	}
	k, err := keyring.ParseKey(got.Keys[0].Key)
	must(t, err)
	return k
}

// roll restarts all nodes, one after the other.
func (s *sealed) roll(ctx context.Context, t *testing.T) {
	t.Helper()
	for i := range s.Len() {
		must(t, s.Stop(ctx, i))
		must(t, s.Restart(ctx, i))
		must(t, s.WaitReady(ctx))
		must(t, s.WaitMembers(ctx, s.Len()))
	}
}

// The keys are rotated five times while locks are held and 200 are acquired a second. No call fails,
// no lock is lost, and the view does not change. A node that comes back gets the key, one with the
// old key stays outside, and no key is in the log.
func TestSimKeyringRotatesUnderLoad(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		ctx := patient(t)
		old := keyring.Generate()
		s := (&sealed{first: keyring.Ring{old}}).start(t)
		keys := keysNamed("held", 100)
		locks := hold(ctx, t, s.Cluster, keys, 0, 1, 2)
		load := startLoad(ctx, t, s.Cluster, keysNamed("busy", 20), 100*time.Millisecond)
		epoch := s.Epoch()
		secrets := []string{old.Text()}
		for i := range 5 {
			must(t, s.change(ctx, i%3, sharelock.RotateKeys, ""))
			k := s.expect(ctx, t, 3, "required")
			if slices.Contains(secrets, k.Text()) {
				t.Error("the key is an old one")
			}
			secrets = append(secrets, k.Text())
			time.Sleep(20 * time.Second) // longer than gossip takes to declare a node dead
		}
		load.stop(t)
		locks.check(ctx, t, s.Client(1))
		if now := s.Epoch(); now != epoch {
			t.Errorf("the view has changed from %d to %d", epoch, now)
		}
		must(t, s.Stop(ctx, 2))
		must(t, s.Restart(ctx, 2))
		must(t, s.WaitMembers(ctx, 3))
		s.expect(ctx, t, 3, "required")
		added, err := s.Add(ctx) // with the first key
		must(t, err)
		time.Sleep(time.Minute)
		if err := s.Node(added).Ready(); err == nil {
			t.Error("a node with the old key has joined")
		}
		if n := s.log.count("it encrypts with a key that this node does not have"); n < 2 || n > 20 {
			t.Errorf("the two sides say %d times in a minute what is wrong:\n%s", n, &s.log.buf)
		}
		for _, secret := range secrets {
			if s.log.count(secret) > 0 {
				t.Errorf("a key is in the log")
			}
		}
	})
}

// While a member is dead no change begins, whether the member is still in the view or only has its
// seat. When it is back, the change is repeated.
func TestSimKeyringWithDeadMember(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		ctx := patient(t)
		s := (&sealed{first: keyring.Ring{keyring.Generate()}}).start(t)
		before := s.expect(ctx, t, 3, "required")
		s.Kill(2)
		err := s.change(ctx, 0, sharelock.RotateKeys, "")
		if !errors.Is(err, sharelock.ErrNotConfirmed) || !strings.Contains(err.Error(), s.Name(2)) {
			t.Errorf("a dead member: %v", err)
		}
		must(t, s.WaitAmong(ctx, 0, 1))
		err = s.change(ctx, 1, sharelock.RotateKeys, "")
		if !errors.Is(err, sharelock.ErrNotConfirmed) || !strings.Contains(err.Error(), s.Name(2)) || !strings.Contains(err.Error(), "--without-absent") {
			t.Errorf("a member that is away: %v", err)
		}
		if k := s.expect(ctx, t, 2, "required"); k != before {
			t.Error("the key has changed")
		}
		must(t, s.Restart(ctx, 2))
		must(t, s.WaitMembers(ctx, 3))
		must(t, s.change(ctx, 0, sharelock.RotateKeys, ""))
		if k := s.expect(ctx, t, 3, "required"); k == before {
			t.Error("the key has not changed")
		}
	})
}

// A member that was away when a key was installed gets it when it is back. One that was away when the
// old key was removed stays outside, says why, and is repaired by hand.
func TestSimKeyringOfWhoWasAway(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		ctx := patient(t)
		s := (&sealed{first: keyring.Ring{keyring.Generate()}}).start(t)
		must(t, s.Stop(ctx, 2))
		must(t, s.WaitAmong(ctx, 0, 1))
		next := keyring.Generate()
		must(t, s.change(ctx, 0, sharelock.InstallKey, next.Text()))
		must(t, s.Restart(ctx, 2))
		must(t, s.WaitMembers(ctx, 3))
		until(ctx, t, "all have the key", func() bool {
			k, err := s.Node(0).Keyring(ctx, false)
			return err == nil && len(k.Keys) == 2 && k.Keys[1].Installed == 3
		})
		must(t, s.change(ctx, 2, sharelock.UseKey, next.Fingerprint().String()))

		must(t, s.Stop(ctx, 2))
		must(t, s.WaitAmong(ctx, 0, 1))
		time.Sleep(time.Minute) // gossip has forgotten its address
		_, err := s.Node(0).ChangeKeyring(ctx, sharelock.KeyringChange{Action: sharelock.RotateKeys, WithoutAbsent: true})
		must(t, err)
		must(t, s.Restart(ctx, 2))
		time.Sleep(time.Minute)
		if err := s.Node(2).Ready(); err == nil {
			t.Error("a node without the key has joined")
		}
		if s.log.count("it encrypts with a key that this node does not have") < 2 {
			t.Errorf("nobody says why:\n%s", &s.log.buf)
		}
		s.Kill(2)
		s.mend(t, 2, s.expect(ctx, t, 2, "required"))
		must(t, s.Restart(ctx, 2))
		must(t, s.WaitMembers(ctx, 3))
	})
}

// mend puts the key into the data directory of a node, as an operator does.
func (s *sealed) mend(t *testing.T, i int, k keyring.Key) {
	t.Helper()
	must(t, mesh.InstallGossipKey(s.dirs[i], k))
}

// Encryption is turned on in a running mesh, first with keys in the data directories, then with
// files, and nothing fails.
func TestSimKeyringMigrates(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		ctx := patient(t)
		s := (&sealed{}).start(t)
		if err := s.change(ctx, 0, sharelock.RotateKeys, ""); !errors.Is(err, sharelock.ErrInvalidArgument) || !strings.Contains(err.Error(), "migrate first") {
			t.Errorf("keys without encryption: %v", err)
		}
		load := startLoad(ctx, t, s.Cluster, keysNamed("busy", 10), 200*time.Millisecond)
		s.mode = keyring.Migrate
		s.roll(ctx, t)
		must(t, s.change(ctx, 1, sharelock.RotateKeys, ""))
		k := s.expect(ctx, t, 3, "migrate")
		s.mode = keyring.Auto
		s.roll(ctx, t)
		s.expect(ctx, t, 3, "required")

		s.file = filepath.Join(inRAM(t).TempDir(), "keys")
		must(t, os.WriteFile(s.file, []byte(k.Text()+"\n"), 0o600))
		s.roll(ctx, t)
		load.stop(t)
		if err := s.change(ctx, 0, sharelock.RotateKeys, ""); !errors.Is(err, sharelock.ErrInvalidArgument) || !strings.Contains(err.Error(), "the keys come from mesh.gossip_keys_file") {
			t.Errorf("a command beside a file: %v", err)
		}
	})
}

// Keys of a file are rotated by editing it. A bad file changes nothing.
func TestSimKeysFileReload(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		ctx := patient(t)
		old, next := keyring.Generate(), keyring.Generate()
		s := &sealed{file: filepath.Join(inRAM(t).TempDir(), "keys")}
		write := func(lines ...string) {
			must(t, os.WriteFile(s.file, []byte(strings.Join(lines, "\n")), 0o600))
			time.Sleep(10 * time.Second)
		}
		must(t, os.WriteFile(s.file, []byte(old.Text()), 0o600))
		s.start(t)
		load := startLoad(ctx, t, s.Cluster, keysNamed("busy", 10), 200*time.Millisecond)
		if k := s.expect(ctx, t, 3, "required"); k != old {
			t.Error("it is another key than that of the file")
		}
		write(old.Text(), next.Text())
		write("not a key")
		if n := s.log.count("the gossip keys stay as they are"); n != 3 {
			t.Errorf("a bad file is reported %d times by three nodes, want once by each", n)
		}
		write(next.Text(), old.Text())
		write(next.Text())
		if k := s.expect(ctx, t, 3, "required"); k != next {
			t.Error("it is not the key of the file")
		}
		for i := range 3 {
			if taken, refused := s.Node(i).GossipKeyReloads(); taken != 3 || refused != 1 {
				t.Errorf("node %d has taken %d files over and refused %d, want 3 and 1", i, taken, refused)
			}
		}
		load.stop(t)
	})
}
