package machine

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/owner/machine/finished"
	"github.com/sgkandale/sharelock/owner/ops"
)

// sampleOps is at least one op of every kind, with every field in use.
func sampleOps() []ops.Op {
	token := sharelock.MakeToken(59712345, 1)
	return []ops.Op{
		{
			Kind: ops.Grant, Key: "orders/42", ClientID: "w1", RequestID: "r-7", Token: token, TTL: 10 * time.Second,
			Mode: sharelock.Shared, OwnID: true, Resent: true, Metadata: map[string]string{"why": "demo", "by": "hand"},
		},
		{Kind: ops.Enqueue, Key: "orders/42", ClientID: "w2", RequestID: "r-8", TTL: time.Minute},
		{Kind: ops.Enqueue, Key: "pool", ClientID: "w2", RequestID: "r-8", TTL: time.Minute, Slots: 5},
		{Kind: ops.Renew, Key: "orders/42", Token: token, TTL: time.Hour, Resent: true},
		{Kind: ops.Renew, Key: "orders/42", Token: token, TTL: time.Hour, Metadata: map[string]string{"step": "3"}},
		{Kind: ops.Renew, Key: "orders/42", Token: token, TTL: time.Hour, Metadata: map[string]string{}},
		{Kind: ops.Release, Key: "orders/42", Token: token, Why: ops.Expired, Remember: true},
		{Kind: ops.Grant, Waited: true, Key: "orders/42", RequestID: "r-8", Token: token + 1, TTL: 30 * time.Second, Resent: true},
		{Kind: ops.Dequeue, Key: "pool", RequestID: "r-8", Why: ops.WaitOver, Remember: true},
		{Kind: ops.Remember, Key: "pool", RequestID: "r-9"},
		{Kind: ops.Read, Key: "pool"},
		{Kind: ops.Enqueue, Key: "batch", ClientID: "w2", RequestID: "r-8", TTL: time.Minute, MaxHold: time.Hour},
		{Kind: ops.Grant, Key: "batch", ClientID: "w1", RequestID: "r-9", Token: token + 2, TTL: time.Minute, MaxHold: time.Hour},
	}
}

// samplePrincipals is at least one op of every kind that has a principal.
func samplePrincipals() []ops.Op {
	token := sharelock.MakeToken(59712345, 9)
	return []ops.Op{
		{Kind: ops.Grant, Key: "deploy", ClientID: "w1", RequestID: "r-7", Principal: "ci", Conn: 258, Token: token, TTL: 10 * time.Second, OwnID: true},
		{Kind: ops.Enqueue, Key: "deploy", ClientID: "w2", RequestID: "r-7", Principal: "apps/system:serviceaccount:ci:default", Conn: 3, TTL: time.Minute, Slots: 0},
		{Kind: ops.Enqueue, Key: "deploy", ClientID: "w2", RequestID: "r-8", Principal: "ci", Conn: 258, TTL: time.Minute, MaxHold: time.Hour, Metadata: map[string]string{"a": "b"}},
		{Kind: ops.Release, Key: "deploy", Token: token, Why: ops.Released, Remember: true},
		{Kind: ops.Grant, Waited: true, Key: "deploy", RequestID: "r-7", Principal: "apps/system:serviceaccount:ci:default", Token: token + 1, TTL: 30 * time.Second},
		{Kind: ops.Dequeue, Key: "deploy", RequestID: "r-8", Principal: "ci", Why: ops.Cancelled, Remember: true},
		{Kind: ops.Remember, Key: "deploy", RequestID: "r-9", Principal: "ci", Conn: 258},
		{Kind: ops.Enqueue, Key: "deploy", ClientID: "w1", RequestID: "r-10", Principal: "ci", Conn: 258, TTL: time.Minute},
	}
}

// sampleMachine is a copy with a bit of everything.
func sampleMachine(t testing.TB) *Machine {
	m := New(17, 100)
	m.Quarantine(0, 33*time.Second)
	for _, op := range append(sampleOps(), ops.Op{Kind: ops.Enqueue, Key: "orders/42", ClientID: "w3", RequestID: "r-10", TTL: time.Second, OwnID: true},
		ops.Op{Kind: ops.Enqueue, Key: "orders/42", ClientID: "w4", RequestID: "r-11", TTL: time.Second, Mode: sharelock.Shared, Metadata: map[string]string{"a": ""}}) {
		if err := m.Apply(time.Second, &op); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// The encodings are a contract between versions: what is written in the golden
// file must not change, only grow.
func TestEncodingsAreStable(t *testing.T) {
	var b strings.Builder
	for _, op := range sampleOps() {
		fmt.Fprintf(&b, "%v\n%x\n", opText(&op), op.Append(nil))
	}
	fmt.Fprintf(&b, "copy after 3s\n%x\n", sampleMachine(t).Encode(3*time.Second))
	const file = "testdata/encodings.golden"
	if *updateScripts {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("encodings have changed:\n%s", firstDifference(b.String(), string(want)))
	}
	lines := strings.Split(strings.TrimSpace(string(want)), "\n")
	old, err := hex.DecodeString(lines[len(lines)-1])
	if err != nil {
		t.Fatal(err)
	}
	m := New(17, 100)
	if err := m.Decode(0, old); err != nil {
		t.Fatal(err)
	}
	if m.Seq() != 15 || m.Len() != 2 || m.Waiters() != 3 || m.Quarantined(0) != 30*time.Second {
		t.Errorf("read back: seq %d, %d keys, %d waiters, quarantine %v", m.Seq(), m.Len(), m.Waiters(), m.Quarantined(0))
	}
}

// What release 2 has added to ops and copies is a contract, too. Without a principal nothing
// differs from release 1.
func TestEncodingsOfPrincipalsAreStable(t *testing.T) {
	var b strings.Builder
	m := sampleMachine(t)
	for _, op := range samplePrincipals() {
		fmt.Fprintf(&b, "%v\n%x\n", opText(&op), op.Append(nil))
		if err := m.Apply(time.Second, &op); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintf(&b, "copy after 3s\n%x\n", m.Encode(3*time.Second))
	const file = "testdata/encodings-2.golden"
	if *updateScripts {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("encodings have changed:\n%s", firstDifference(b.String(), string(want)))
	}
	lines := strings.Split(strings.TrimSpace(string(want)), "\n")
	old, err := hex.DecodeString(lines[len(lines)-1])
	if err != nil {
		t.Fatal(err)
	}
	m = New(17, 100)
	if err := m.Decode(0, old); err != nil {
		t.Fatal(err)
	}
	has := map[string][2]int{}
	m.Principals(func(name string, holds, waiters int) { has[name] = [2]int{holds, waiters} })
	if want := map[string][2]int{"ci": {0, 1}, "apps/system:serviceaccount:ci:default": {1, 0}}; !maps.Equal(has, want) {
		t.Errorf("read back: principals %v, want %v", has, want)
	}
}

// W1: an op with a principal is unknown in views of release 1.
func TestPrincipalsAreEarly(t *testing.T) {
	for _, op := range samplePrincipals() {
		if early := op.Principal != ""; op.Early(1) != early || op.Early(release.Principals) {
			t.Errorf("%s is early in release 1: %t, in release %d: %t", opText(&op), op.Early(1), release.Principals, op.Early(release.Principals))
		}
	}
}

// Cutting a copy short, adding to it or naming another partition is an error, and
// an error leaves the machine as it was.
func TestDecodeRefuses(t *testing.T) {
	good := sampleMachine(t).Encode(time.Second)
	bad := [][]byte{append(bytes.Clone(good), 0), append([]byte{copyVersion + 1}, good[1:]...), append([]byte{copyVersion, 18}, good[2:]...)}
	for n := range good {
		bad = append(bad, good[:n])
	}
	m := sampleMachine(t)
	before := m.Encode(time.Second)
	for _, data := range bad {
		if err := m.Decode(time.Second, data); !errors.Is(err, ops.ErrMalformed) {
			t.Errorf("%x: error %v, want %v", data, err, ops.ErrMalformed)
		}
	}
	if !bytes.Equal(before, m.Encode(time.Second)) {
		t.Error("the machine has changed")
	}
}

// A copy that breaks an invariant is refused, however well it is written.
func TestDecodeRefusesUnsoundCopies(t *testing.T) {
	held := func(m *Machine, token sharelock.Token, mode sharelock.Mode) {
		m.keys.add(m.keys.get("orders/42"), &ops.Op{Key: "orders/42", ClientID: "c", RequestID: "other", Token: token, Mode: mode, TTL: 1})
	}
	wait := func(m *Machine, op ops.Op) {
		op.Key = "orders/42"
		m.keys.add(m.keys.get(op.Key), &op)
	}
	for name, breakIt := range map[string]func(m *Machine, k *contendedKey){
		"token above the last": func(m *Machine, _ *contendedKey) { m.last = 1 },
		"last out of range":    func(m *Machine, _ *contendedKey) { m.last = 1 << 63 },
		"two exclusive holds":  func(m *Machine, _ *contendedKey) { m.last++; held(m, m.last, sharelock.Exclusive) },
		"tokens out of order": func(m *Machine, k *contendedKey) {
			k.holds.first.claim.set(isShared, true)
			held(m, m.last-1, sharelock.Shared)
		},
		"id twice": func(m *Machine, _ *contendedKey) { wait(m, ops.Op{ClientID: "c", RequestID: "r-10", TTL: 1}) },
		"id over": func(m *Machine, _ *contendedKey) {
			rememberFinished(m, finished.Ended, "orders/42", "r-10", time.Minute)
		},
		"id over for long": func(m *Machine, _ *contendedKey) { rememberFinished(m, finished.Ended, "k", "r", 2*finished.Keep) },
		"fence for long":   func(m *Machine, _ *contendedKey) { rememberFinished(m, finished.Fence, "k", "r", time.Minute) },
		"no client":        func(m *Machine, _ *contendedKey) { wait(m, ops.Op{RequestID: "r", TTL: 1}) },
		"no TTL":           func(m *Machine, _ *contendedKey) { wait(m, ops.Op{ClientID: "c", RequestID: "r"}) },
		"one slot":         func(_ *Machine, k *contendedKey) { k.slots = 1 },
		"claims missing":   func(m *Machine, _ *contendedKey) { m.keys.claims.Take() },
		"key twice":        func(m *Machine, k *contendedKey) { m.keys.contended.Put(m.keys.hash("again"), k) },
		"no key": func(m *Machine, _ *contendedKey) {
			m.keys.add(m.keys.get(""), &ops.Op{ClientID: "c", RequestID: "r", TTL: 1, Token: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := sampleMachine(t)
			if err := New(17, 0).Decode(0, m.Encode(time.Second)); err != nil {
				t.Fatalf("before it is broken: %v", err)
			}
			breakIt(m, m.keys.get("orders/42").contended)
			if err := New(17, 0).Decode(0, m.Encode(time.Second)); !errors.Is(err, ops.ErrMalformed) {
				t.Errorf("error %v, want %v", err, ops.ErrMalformed)
			}
		})
	}
	read := ops.Op{Kind: ops.Read, Key: "k"}
	b := read.Append(nil)
	for _, flag := range []byte{ops.FlagMetadata, ops.FlagPrincipal} {
		b[1] = flag
		if _, err := read.Decode(b); !errors.Is(err, ops.ErrMalformed) {
			t.Errorf("flag %#x, which a read does not have: error %v", flag, err)
		}
	}
}

// FuzzDecode: whatever is called a copy gives an error or a sound machine that can
// be served from.
func FuzzDecode(f *testing.F) {
	f.Add(sampleMachine(f).Encode(time.Second))
	f.Add(New(17, 0).Encode(0))
	owned := sampleMachine(f)
	for _, op := range samplePrincipals() {
		if err := owned.Apply(time.Second, &op); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(owned.Encode(time.Second))
	p := newPlay(f, 100)
	p.m.partition = 17
	for i := range indexFrom + 4 {
		p.acquire(Ref{&listener{}, 1}, "k", fmt.Sprint("r", i), time.Minute)
	}
	f.Add(p.m.Encode(0))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := New(17, 100)
		if err := m.Decode(0, data); err != nil {
			if !errors.Is(err, ops.ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		again := New(17, 100)
		if err := again.Decode(0, m.Encode(0)); err != nil {
			t.Fatalf("what was decoded cannot be copied: %v", err)
		}
		if !bytes.Equal(m.Encode(0), again.Encode(0)) {
			t.Fatal("a copy of a copy differs")
		}
		m.Activate(0, 1<<30, "n")
		var out Out
		for range 1000 {
			at, ok := m.Next()
			if !ok {
				break
			}
			m.Tick(at, &out)
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzOp: an op that decodes says the same when it is encoded again, and applying
// it does no harm.
func FuzzOp(f *testing.F) {
	for _, op := range append(sampleOps(), samplePrincipals()...) {
		f.Add(op.Append(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var op, again ops.Op
		rest, err := op.Decode(data)
		if err != nil {
			if !errors.Is(err, ops.ErrMalformed) || !reflect.DeepEqual(op, ops.Op{}) {
				t.Fatalf("error %v, op %+v", err, op)
			}
			return
		}
		if len(rest) >= len(data) {
			t.Fatal("an op of no bytes")
		}
		if rest, err := again.Decode(op.Append(nil)); err != nil || len(rest) > 0 || !reflect.DeepEqual(op, again) {
			t.Fatalf("%+v became %+v, rest %x, error %v", op, again, rest, err)
		}
		m := sampleMachine(t)
		before := m.Encode(time.Second)
		err = m.Apply(time.Second, &op)
		if err != nil && !bytes.Equal(before, m.Encode(time.Second)) {
			t.Fatalf("refused with %v, but the copy has changed", err)
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzMachine drives an owner and its backup with requests made of bytes, sane or
// not.
func FuzzMachine(f *testing.F) {
	f.Add([]byte("\x01\x00\x10\x00\x01\x11\x10\x00\x03\x00\x10\x00"))
	f.Add(bytes.Repeat([]byte("\x01\x21\x35\x42"), 30))
	f.Add(bytes.Repeat([]byte("\x41\x93\x01\xff\x08\x33\xa2\x11\x0b\xff\xff\xff"), 20))
	f.Fuzz(func(t *testing.T, data []byte) {
		owner, backup := New(0, 5), New(0, 5)
		for _, m := range []*Machine{owner, backup} {
			m.SetRelease(uint32(len(data) / 4 % 3)) // of some views, and of none
		}
		owner.Activate(0, 1, "n")
		epoch, now := uint32(1), time.Duration(0)
		refs := []*listener{{name: "a"}, {name: "b"}, {name: "c"}}
		for ; len(data) >= 4; data = data[4:] {
			b := data[:4]
			now += time.Duration(b[3]) * time.Duration(b[3]) * time.Millisecond
			var out Out
			switch b[0] % 16 {
			case 10:
				owner.Tick(now, &out)
			case 11:
				refs[b[1]%3] = &listener{name: refs[b[1]%3].name}
			case 12:
				refs[b[1]%3].dead = true
			case 13:
				owner.detachAll(func(Ref) {})
				epoch++
				owner, backup = backup, owner
				owner.Activate(now, epoch, "n")
			case 14:
				owner.Quarantine(now, time.Duration(b[1])*time.Second)
				backup.Quarantine(now, time.Duration(b[1])*time.Second)
			default:
				r := fuzzRequest(b)
				owner.Step(now, Ref{refs[b[2]%3], uint64(b[2] % 2)}, &r, &out)
				if len(out.Replies) == 0 {
					t.Fatalf("no answer to %+v", r)
				}
			}
			for i := range out.Ops {
				if err := backup.Apply(now, &out.Ops[i]); err != nil {
					t.Fatal(err)
				}
			}
			backup.Tick(now, new(Out))
			if err := errors.Join(owner.Check(), backup.Check()); err != nil {
				t.Fatal(err)
			}
		}
		if o, b := owner.Encode(now), backup.Encode(now); !bytes.Equal(o, b) {
			t.Fatalf("owner and backup differ:\n%x\n%x", o, b)
		}
	})
}

func fuzzRequest(b []byte) Request {
	r := Request{
		Kind: Kind(b[0] % 16), Key: string('k' + rune(b[1]%2)), ClientID: string('c' + rune(b[2]%3)),
		RequestID: string('r' + rune(b[1]>>2%8)), Token: sharelock.MakeToken(uint32(b[3]%3), uint32(b[2]%16)),
		TTL: time.Duration(b[3]) * 100 * time.Millisecond, Wait: time.Duration(int8(b[2])) * 100 * time.Millisecond,
		Mode: sharelock.Mode(b[0] >> 4 % 3), Slots: uint32(b[0] >> 6), Send: uint32(b[3] % 4),
		OwnID: b[2]&1 != 0, SentOnce: b[2]&2 != 0, Drop: b[2]&4 != 0,
		Principal: []string{"", "p", "q", "r"}[b[3]>>2%4], AnyHold: b[3]&16 != 0,
	}
	switch b[1] {
	case 255:
		r.Key = strings.Repeat("k", 1000)
	case 254:
		r.TTL, r.Wait = 1<<63-1, 1<<63-1
	case 253:
		r.Metadata = map[string]string{"a": strings.Repeat("b", int(b[2])*16)}
	case 252:
		r.Key, r.RequestID = "", ""
	case 251:
		r.Principal = strings.Repeat("p", int(b[2])*2)
	}
	return r
}
