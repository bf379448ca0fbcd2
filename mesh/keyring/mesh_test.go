package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/ring"
)

// fleet is a mesh of keyrings without a network.
type fleet struct {
	t *testing.T

	mu      sync.Mutex // guards what follows
	keys    map[string]*Keys
	members []ring.Member
	absent  []string
	changed chan struct{}
	// dead members do not answer; broken ones refuse changes.
	dead, broken map[string]bool
	// asked is called before each request, without mu.
	asked func(member string, r Request)
}

func newFleet(t *testing.T) *fleet {
	return &fleet{t: t, keys: map[string]*Keys{}, dead: map[string]bool{}, broken: map[string]bool{}, changed: make(chan struct{}), asked: func(string, Request) {}}
}

func who(name string) ring.Identity { return ring.Identity{ID: name, Counter: 1} }

// add adds a member with a ring of these letters.
func (f *fleet) add(name, letters string, mode Mode) *Mesh {
	f.t.Helper()
	store := &memory{}
	if letters != "" {
		store.data = encode(ringOf(letters))
	}
	k, err := Open(Config{Mode: mode, Store: store, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys[name] = k
	f.members = append(f.members, ring.Member{Identity: who(name), Name: name})
	close(f.changed)
	f.changed = make(chan struct{})
	return f.mesh(name)
}

func (f *fleet) mesh(name string) *Mesh {
	return NewMesh(MeshConfig{
		Self: who(name), Own: f.keys[name], Log: slog.New(slog.DiscardHandler),
		Members: func() (Members, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return Members{slices.Clone(f.members), f.absent}, nil
		},
		Changed: func() <-chan struct{} {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.changed
		},
		Call: func(ctx context.Context, m ring.Member, r Request) (Report, error) {
			f.asked(m.Name, r)
			f.mu.Lock()
			dead, broken, k := f.dead[m.Name], f.broken[m.Name], f.keys[m.Name]
			f.mu.Unlock()
			switch {
			case dead:
				<-ctx.Done()
				return Report{}, ctx.Err()
			case broken && r.Action != Read:
				return Report{}, errors.New("disk full")
			}
			return k.Do(r)
		},
	})
}

// rings returns the rings of all members, with * for a key that the test has not made.
func (f *fleet) rings() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, m := range f.members {
		list = append(list, m.Name+"="+strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' {
				return r
			}
			return '*'
		}, letters(f.keys[m.Name].Ring())))
	}
	return strings.Join(list, " ")
}

// letters is like names, with '*' for an unknown key.
func letters(r Ring) (text string) {
	for _, k := range r {
		if k == testKey(k[0]) && k[0] >= 'a' && k[0] <= 'z' {
			text += string(k[0])
		} else {
			text += "*"
		}
	}
	return text
}

func change(action sharelock.KeyringAction, key string) sharelock.KeyringChange {
	return sharelock.KeyringChange{Action: action, Key: key}
}

func TestMeshChanges(t *testing.T) {
	a, b := testKey('a'), testKey('b')
	for _, c := range []struct {
		what    string
		rings   string // of x, y and z
		change  sharelock.KeyringChange
		want    string
		err     error
		message string
	}{
		{"install", "a a a", change(sharelock.InstallKey, b.Text()), "x=ab y=ab z=ab", nil, ""},
		{"install the first", "  ", change(sharelock.InstallKey, b.Text()), "x=b y=b z=b", nil, ""},
		{"install what some have", "a ab a", change(sharelock.InstallKey, b.Text()), "x=ab y=ab z=ab", nil, ""},
		{"install no key", "a a a", change(sharelock.InstallKey, "AAAA"), "x=a y=a z=a", sharelock.ErrInvalidArgument, "key: not a gossip key"},
		{"install a fingerprint", "a a a", change(sharelock.InstallKey, b.Fingerprint().String()), "x=a y=a z=a", sharelock.ErrInvalidArgument, "not a gossip key"},
		{"use", "ab ab ab", change(sharelock.UseKey, b.Fingerprint().String()), "x=ba y=ba z=ba", nil, ""},
		{"use by the key itself", "ab ba ab", change(sharelock.UseKey, b.Text()), "x=ba y=ba z=ba", nil, ""},
		{"use what one lacks", "ab a ab", change(sharelock.UseKey, b.Text()), "x=ab y=a z=ab", sharelock.ErrInvalidArgument, "is not installed on y"},
		{"remove", "ab ab ab", change(sharelock.RemoveKey, b.Fingerprint().String()), "x=a y=a z=a", nil, ""},
		{"remove what some have", "ab a a", change(sharelock.RemoveKey, b.Text()), "x=a y=a z=a", nil, ""},
		{"remove a primary", "ab ab ba", change(sharelock.RemoveKey, b.Text()), "x=ab y=ab z=ba", sharelock.ErrInvalidArgument, "is the primary key of z"},
		{"remove what nobody has", "a a a", change(sharelock.RemoveKey, b.Text()), "x=a y=a z=a", sharelock.ErrInvalidArgument, "not installed on any member"},
		{"rotate", "a a a", change(sharelock.RotateKeys, ""), "x=* y=* z=*", nil, ""},
		{"rotate what is left of another change", "ab bca abc", change(sharelock.RotateKeys, ""), "x=* y=* z=*", nil, ""},
		{"rotate with a key", "a a a", change(sharelock.RotateKeys, b.Text()), "x=a y=a z=a", sharelock.ErrInvalidArgument, "must be empty"},
		{"nothing", "a a a", change(0, ""), "x=a y=a z=a", sharelock.ErrInvalidArgument, "action"},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := newFleet(t)
			for i, letters := range strings.Split(c.rings, " ") {
				f.add([]string{"x", "y", "z"}[i], letters, Migrate)
			}
			k, err := f.mesh("x").Change(t.Context(), c.change)
			if got := f.rings(); got != c.want {
				t.Errorf("the rings are %s, want %s", got, c.want)
			}
			if !errors.Is(err, c.err) || c.err == nil && err != nil || err != nil && !strings.Contains(err.Error(), c.message) {
				t.Errorf("error %v, want %v with %q", err, c.err, c.message)
			}
			if err == nil && (len(k.Members) != 3 || k.Keys[0].Installed != 3 || k.Keys[0].Primary != 3) {
				t.Errorf("the answer is %+v", k)
			}
			for _, secret := range []string{a.Text(), b.Text()} {
				if strings.Contains(fmt.Sprint(k, err), secret) {
					t.Errorf("the answer contains a key: %v, %v", k, err)
				}
			}
		})
	}
}

// A member that does not answer stops a change before it begins. After a member has failed during a
// change, the change can be repeated. The error names the member.
func TestMeshNamesWhoFailed(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := newFleet(t)
		for _, name := range []string{"x", "y", "z"} {
			f.add(name, "a", Auto)
		}
		m := f.mesh("x")
		rotate := func(what, want, message string) {
			t.Helper()
			_, err := m.Change(t.Context(), change(sharelock.RotateKeys, ""))
			if got := f.rings(); got != want || (err == nil) != (message == "") || err != nil && (!errors.Is(err, sharelock.ErrNotConfirmed) || !strings.Contains(err.Error(), message)) {
				t.Errorf("%s: the rings are %s, %v; want %s, %q", what, got, err, want, message)
			}
		}
		f.dead["z"] = true
		start := time.Now()
		rotate("a dead member", "x=a y=a z=a", "nothing was changed: 1 of 3 members did not answer or refused: z (context deadline exceeded)")
		if d := time.Since(start); d > answerTime {
			t.Errorf("it took %v, want at most %v", d, answerTime)
		}
		k, err := m.Keyring(t.Context(), false)
		if err != nil || len(k.Keys) != 1 || k.Keys[0].Installed != 2 || k.Members[2].Err == "" {
			t.Errorf("with a dead member the keyring is %+v, %v", k, err)
		}
		f.dead["z"], f.broken["y"] = false, true
		rotate("one that cannot store", "x=a* y=a z=a*", "install")
		f.broken["y"] = false
		f.asked = func(member string, r Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.dead["z"] = r.Action == Use
		}
		rotate("one that dies before it uses the key", "x=*a* y=*a z=a**", "use")
		f.asked = func(string, Request) {}
		f.dead["z"] = false
		rotate("again", "x=* y=* z=*", "")
		f.absent = []string{"w (id)"}
		before, _ := f.keys["x"].Ring().Primary()
		rotate("with an absent seat", "x=* y=* z=*", "w (id) would not have the key when back")
		if now, _ := f.keys["x"].Ring().Primary(); now != before {
			t.Error("the key was changed although a seat is absent")
		}
		if _, err := m.Change(t.Context(), sharelock.KeyringChange{Action: sharelock.RotateKeys, WithoutAbsent: true}); err != nil {
			t.Errorf("without the absent one: %v", err)
		}
		if now, _ := f.keys["x"].Ring().Primary(); now == before {
			t.Error("the key was not changed without the absent one")
		}
	})
}

// The error names members that have their keys from a file, or do not encrypt.
func TestMeshRefuses(t *testing.T) {
	f := newFleet(t)
	m := f.add("x", "a", Auto)
	f.add("y", "", Auto)
	if _, err := m.Change(t.Context(), change(sharelock.InstallKey, testKey('b').Text())); !errors.Is(err, sharelock.ErrInvalidArgument) || !strings.Contains(err.Error(), "migrate first (y)") {
		t.Errorf("a member without encryption: %v", err)
	}
	f.keys["y"] = fileKeys(t, "a")
	if _, err := m.Change(t.Context(), change(sharelock.InstallKey, testKey('b').Text())); !errors.Is(err, sharelock.ErrInvalidArgument) || !strings.Contains(err.Error(), "the keys come from mesh.gossip_keys_file (y)") {
		t.Errorf("a member with a file: %v", err)
	}
	if got := f.rings(); got != "x=a y=a" {
		t.Errorf("the rings are %s", got)
	}
}

// A member that joins during a change takes part in it.
func TestMeshIncludesJoiners(t *testing.T) {
	f := newFleet(t)
	m := f.add("x", "a", Auto)
	f.add("y", "a", Auto)
	var once sync.Once
	f.asked = func(_ string, r Request) {
		if r.Action == Install {
			once.Do(func() { f.add("z", "a", Auto) })
		}
	}
	if _, err := m.Change(t.Context(), change(sharelock.RotateKeys, "")); err != nil {
		t.Fatal(err)
	}
	if got := f.rings(); got != "x=* y=* z=*" {
		t.Errorf("the rings are %s", got)
	}
}

// Keyring counts the members that have each key, and returns the keys themselves only if asked.
func TestMeshKeyring(t *testing.T) {
	f := newFleet(t)
	m := f.add("x", "ab", Auto)
	f.add("y", "ba", Migrate)
	f.add("z", "ac", Auto)
	f.add("w", "", Off)
	a, b, c := testKey('a'), testKey('b'), testKey('c')
	want := sharelock.Keyring{
		Keys: []sharelock.GossipKey{
			{Fingerprint: a.Fingerprint().String(), Installed: 3, Primary: 2},
			{Fingerprint: b.Fingerprint().String(), Installed: 2, Primary: 1},
			{Fingerprint: c.Fingerprint().String(), Installed: 1},
		},
		Members: []sharelock.KeyringMember{{Name: "x", Encryption: "required"}, {Name: "y", Encryption: "migrate"}, {Name: "z", Encryption: "required"}, {Name: "w", Encryption: "off"}},
	}
	for _, show := range []bool{false, true} {
		if show {
			want.Keys[0].Key, want.Keys[1].Key, want.Keys[2].Key = a.Text(), b.Text(), c.Text()
		}
		got, err := m.Keyring(t.Context(), show)
		if err != nil || !slices.Equal(got.Keys, want.Keys) || !slices.Equal(got.Members, want.Members) {
			t.Errorf("the keyring is\n%+v, %v, want\n%+v", got, err, want)
		}
	}
}

// A member that comes back gets the keys that were installed in the meantime.
func TestCatchUp(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.add("x", "ba", Auto)
		f.add("y", "ba", Auto)
		f.dead["x"] = true
		z := &memory{data: encode(ringOf("ac"))}
		k, err := Open(Config{Store: z, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		f.keys["z"] = k
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.mesh("z").CatchUp(t.Context())
		}()
		time.Sleep(time.Minute)
		if got := letters(k.Ring()); got != "ac" {
			t.Errorf("before it is in a view it has %q", got)
		}
		f.mu.Lock()
		f.members = append(f.members, ring.Member{Identity: who("z"), Name: "z"})
		close(f.changed)
		f.changed = make(chan struct{})
		f.mu.Unlock()
		<-ended
		stored, err := decode(z.data)
		if got := letters(k.Ring()); got != "bac" || letters(stored) != "bac" || err != nil {
			t.Errorf("it has %q, and %q stored, %v", got, letters(stored), err)
		}
		alone := newFleet(t).add("x", "a", Auto)
		alone.CatchUp(t.Context()) // there is no other member to ask
	})
}

// fileKeys is a member with a keys file.
func fileKeys(t *testing.T, letters string) *Keys {
	t.Helper()
	file := t.TempDir() + "/keys"
	writeFile(t, file, text(ringOf(letters)))
	k, err := Open(Config{File: file, Store: &memory{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return k
}
