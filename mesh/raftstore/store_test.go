package raftstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	berrors "go.etcd.io/bbolt/errors"
	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock/internal/release"
)

// noSync: nothing crashes in these tests.
func noSync(string) error { return nil }

func tempStore(t *testing.T) (s *Store, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "raft.db")
	s, err := Open(path, noSync)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, path
}

func sameEntry(a, b raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data) &&
		bytes.Equal(a.Extensions, b.Extensions) && a.AppendedAt.Equal(b.AppendedAt)
}

func drawEntry(t *rapid.T, index uint64) *raft.Log {
	entry := &raft.Log{
		Index:      index,
		Term:       rapid.Uint64().Draw(t, "term"),
		Type:       raft.LogType(rapid.IntRange(0, 5).Draw(t, "type")),
		Data:       rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "data"),
		Extensions: rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "extensions"),
	}
	if rapid.Bool().Draw(t, "timed") {
		entry.AppendedAt = time.Unix(0, rapid.Int64Min(0).Draw(t, "at"))
	}
	return entry
}

// logPair is our store beside raft's own in memory.
type logPair struct {
	ours  *Store
	model *raft.InmemStore
}

// edges gives the first and last index of both, which must agree.
func (p *logPair) edges(t *rapid.T) (first, last uint64) {
	for _, f := range []struct {
		name        string
		ours, model func() (uint64, error)
		into        *uint64
	}{
		{"FirstIndex", p.ours.FirstIndex, p.model.FirstIndex, &first},
		{"LastIndex", p.ours.LastIndex, p.model.LastIndex, &last},
	} {
		got, err := f.ours()
		want, _ := f.model()
		if err != nil || got != want {
			t.Fatalf("%s = %d, %v, want %d", f.name, got, err, want)
		}
		*f.into = got
	}
	return first, last
}

func (p *logPair) check(t *rapid.T) {
	first, last := p.edges(t)
	for index := max(first, 2) - 2; index <= last+2; index++ {
		var got, want raft.Log
		gotErr, wantErr := p.ours.GetLog(index, &got), p.model.GetLog(index, &want)
		if !errors.Is(gotErr, wantErr) || !sameEntry(got, want) {
			t.Fatalf("GetLog(%d) = %+v, %v, want %+v, %v", index, got, gotErr, want, wantErr)
		}
	}
}

// TestStoreAgainstMemory does what raft does to a log (append, cut off the end,
// cut off the beginning, start again further on) to our store and to raft's.
func TestStoreAgainstMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	rapid.Check(t, func(t *rapid.T) {
		_ = os.Remove(path)
		s, err := Open(path, noSync)
		if err != nil {
			t.Fatal(err)
		}
		s.db.NoSync = true // nobody pulls the plug on this test
		p := &logPair{s, raft.NewInmemStore()}
		defer func() { _ = p.ours.Close() }()
		both := func(do func(raft.LogStore) error) {
			if err := errors.Join(do(p.ours), do(p.model)); err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				_, last := p.edges(t)
				if last == 0 {
					last = rapid.Uint64Range(0, 1<<40).Draw(t, "start")
				}
				entries := make([]*raft.Log, rapid.IntRange(0, 5).Draw(t, "n"))
				for i := range entries {
					entries[i] = drawEntry(t, last+1+uint64(i))
				}
				both(func(l raft.LogStore) error { return l.StoreLogs(entries) })
			},
			"replace": func(t *rapid.T) {
				first, last := p.edges(t)
				if last == 0 {
					t.Skip("empty")
				}
				entry := drawEntry(t, rapid.Uint64Range(first, last).Draw(t, "index"))
				both(func(l raft.LogStore) error { return l.StoreLog(entry) })
			},
			"cut the end": func(t *rapid.T) {
				first, last := p.edges(t)
				if last == 0 {
					t.Skip("empty")
				}
				from := rapid.Uint64Range(first, last).Draw(t, "from")
				both(func(l raft.LogStore) error { return l.DeleteRange(from, last) })
			},
			"cut the beginning": func(t *rapid.T) {
				first, last := p.edges(t)
				if last == 0 {
					t.Skip("empty")
				}
				to := rapid.Uint64Range(first, last).Draw(t, "to")
				both(func(l raft.LogStore) error { return l.DeleteRange(first, to) })
			},
			"reopen": func(t *rapid.T) {
				if err := p.ours.Close(); err != nil {
					t.Fatal(err)
				}
				if p.ours, err = Open(path, noSync); err != nil {
					t.Fatal(err)
				}
				p.ours.db.NoSync = true
			},
			"": p.check,
		})
	})
}

// TestStoreGaps: raft leaves a gap behind after a restored snapshot.
func TestStoreGaps(t *testing.T) {
	s, _ := tempStore(t)
	var indices []uint64
	for _, index := range []uint64{1, 2, 3, 200, 256, 257, 1 << 40} {
		if err := s.StoreLog(&raft.Log{Index: index}); err != nil {
			t.Fatal(err)
		}
		indices = append(indices, index)
	}
	for _, cut := range []struct{ first, last uint64 }{{4, 199}, {3, 200}, {9, 8}, {257, 1 << 50}, {0, 1}} {
		if err := s.DeleteRange(cut.first, cut.last); err != nil {
			t.Fatal(err)
		}
		indices = slices.DeleteFunc(indices, func(i uint64) bool { return i >= cut.first && i <= cut.last })
		for _, index := range []uint64{1, 2, 3, 200, 256, 257, 1 << 40} {
			err := s.GetLog(index, new(raft.Log))
			if want := slices.Contains(indices, index); (err == nil) != want || !want && !errors.Is(err, raft.ErrLogNotFound) {
				t.Errorf("after deleting %d to %d: GetLog(%d): %v, want it there: %t", cut.first, cut.last, index, err, want)
			}
		}
	}
	if first, _ := s.FirstIndex(); first != 2 {
		t.Errorf("FirstIndex = %d, want 2", first)
	}
	if last, _ := s.LastIndex(); last != 256 {
		t.Errorf("LastIndex = %d, want 256", last)
	}
}

func TestStoreValues(t *testing.T) {
	s, path := tempStore(t)
	// raft compares this text.
	if _, err := s.Get([]byte("k")); err == nil || err.Error() != "not found" {
		t.Errorf("Get of a missing key: %v, want the text %q", err, "not found")
	}
	if n, err := s.GetUint64([]byte("k")); n != 0 || err != nil {
		t.Errorf("GetUint64 of a missing key = %d, %v, want 0", n, err)
	}
	value := []byte("value")
	for _, err := range []error{
		s.Set([]byte("k"), value), s.Set([]byte("empty"), nil), s.SetUint64([]byte("n"), 1<<63+5),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	value[0] = 'X' // the store must not keep the slice
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Set([]byte("k"), nil); err == nil {
		t.Error("Set after Close has no error")
	}
	s, err := Open(path, noSync)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, err := s.Get([]byte("k")); string(got) != "value" || err != nil {
		t.Errorf("Get after reopening = %q, %v", got, err)
	}
	if got, err := s.Get([]byte("empty")); len(got) != 0 || err != nil {
		t.Errorf("Get of an empty value = %q, %v", got, err)
	}
	if got, err := s.GetUint64([]byte("n")); got != 1<<63+5 || err != nil {
		t.Errorf("GetUint64 after reopening = %d, %v", got, err)
	}
	if _, err := s.GetUint64([]byte("k")); !errors.Is(err, ErrDamaged) {
		t.Errorf("GetUint64 of five bytes: %v, want %v", err, ErrDamaged)
	}
}

// TestStoreExistingState: what raft itself asks of a fresh and of a used store.
func TestStoreExistingState(t *testing.T) {
	s, _ := tempStore(t)
	snaps := raft.NewInmemSnapshotStore()
	if used, err := raft.HasExistingState(s, s, snaps); used || err != nil {
		t.Fatalf("HasExistingState of a fresh store = %t, %v", used, err)
	}
	c := raft.DefaultConfig()
	c.LocalID = "a"
	_, transport := raft.NewInmemTransport("a")
	servers := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}}}
	if err := raft.BootstrapCluster(c, s, s, snaps, transport, servers); err != nil {
		t.Fatal(err)
	}
	if used, err := raft.HasExistingState(s, s, snaps); !used || err != nil {
		t.Fatalf("HasExistingState of a used store = %t, %v", used, err)
	}
	if err := raft.BootstrapCluster(c, s, s, snaps, transport, servers); !errors.Is(err, raft.ErrCantBootstrap) {
		t.Fatalf("second BootstrapCluster: %v, want %v", err, raft.ErrCantBootstrap)
	}
}

func TestStoreLocked(t *testing.T) {
	_, path := tempStore(t)
	if s, err := Open(path, noSync); !errors.Is(err, berrors.ErrTimeout) {
		t.Errorf("second open: %v, %v, want %v", s, err, berrors.ErrTimeout)
	}
}

func TestStoreDamaged(t *testing.T) {
	s, path := tempStore(t)
	if err := s.StoreLog(&raft.Log{Index: 7, Data: []byte("find me in the file")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(whole, []byte("find me"))
	whole[at] ^= 1
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, noSync); err != nil {
		t.Fatal(err)
	}
	if err := s.GetLog(7, new(raft.Log)); !errors.Is(err, ErrDamaged) {
		t.Errorf("GetLog of a flipped bit: %v, want %v", err, ErrDamaged)
	}
	_ = s.Close()
	// Both meta pages are gone: not a new store, an error.
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xff}, len(whole)), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, noSync); err == nil {
		t.Errorf("open of a ruined file: %v, want an error", s)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(encodeEntry(&raft.Log{}))
	f.Add(encodeEntry(&raft.Log{Term: 3, Type: raft.LogBarrier, Data: []byte("d"), Extensions: []byte("e"), AppendedAt: time.Unix(1, 2)}))
	f.Add([]byte{})
	long := encodeEntry(&raft.Log{Data: []byte("d")})
	long[18] = 0xff // more extensions than there are bytes
	f.Add(long[:len(long)-entrySum])
	f.Fuzz(func(t *testing.T, b []byte) {
		entry, err := decodeEntry(b)
		if err != nil {
			// Damage behind a correct checksum must be found too.
			if entry, err := decodeEntry(appendSum(b)); err == nil && !bytes.Equal(encodeEntry(&entry), appendSum(b)) {
				t.Errorf("%x decodes to %+v", appendSum(b), entry)
			}
			return
		}
		if again := encodeEntry(&entry); !bytes.Equal(again, b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, entry, again)
		}
	})
}

func appendSum(b []byte) []byte {
	sum := crc32c(b)
	return append(bytes.Clone(b), byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
}

// An entry of a later release is not damaged, and the error says so.
func TestEntryOfALaterRelease(t *testing.T) {
	b := encodeEntry(&raft.Log{Term: 3, Data: []byte("d")})
	b[0] = entryFormat + 1
	if _, err := decodeEntry(appendSum(b[:len(b)-entrySum])); !errors.Is(err, release.ErrNewer) || errors.Is(err, ErrDamaged) {
		t.Errorf("decoded: %v", err)
	}
}
