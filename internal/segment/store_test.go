package segment

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string, most int64) (*Store, bool) {
	t.Helper()
	s, torn, err := Open(dir, most)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s, torn
}

// fill appends numbered blocks, each with one hash.
func fill(t testing.TB, s *Store, from, to, size int) {
	t.Helper()
	for i := from; i < to; i++ {
		if s.Full() {
			must(t, s.Roll(0))
		}
		payload := bytes.Repeat([]byte{byte(i)}, size)
		must(t, s.Append(&Block{Payload: payload, Hashes: []uint64{hash(i)}, Marked: i%10 == 0, First: int64(i), Last: int64(i)}))
	}
}

// hash returns a number that looks like a hash.
func hash(i int) uint64 {
	x := uint64(i+1) * 0x9e3779b97f4a7c15
	return (x ^ x>>29) * 0xbf58476d1ce4e5b9
}

// numbers returns the first times of blocks.
func numbers(refs []Ref) (list []int64) {
	for _, r := range refs {
		list = append(list, r.First)
	}
	return list
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, 64<<20)
	fill(t, s, 0, 50, 1000)
	must(t, s.Close())
	s, torn := open(t, dir, 64<<20)
	if torn || len(s.All()) != 50 || fmt.Sprint(numbers(s.Marked())) != "[0 10 20 30 40]" {
		t.Errorf("torn %t, blocks %v, marked %v", torn, numbers(s.All()), numbers(s.Marked()))
	}
	fill(t, s, 50, 60, 1000)
	for i, ref := range s.All() {
		payload, err := s.Read(&ref)
		if err != nil || len(payload) != 1000 || payload[0] != byte(i) {
			t.Errorf("block %d: %d bytes, %v", i, len(payload), err)
		}
	}
}

// A search for a hash finds its block, and few others.
func TestFilter(t *testing.T) {
	s, _ := open(t, "", 64<<20)
	const blocks, each = 100, 500
	for i := range blocks {
		b := Block{Payload: []byte{1}}
		for k := range each {
			b.Hashes = append(b.Hashes, hash(i*each+k))
		}
		if s.Full() {
			must(t, s.Roll(0))
		}
		must(t, s.Append(&b))
	}
	others := 0
	for i := range blocks * each {
		found := false
		for _, ref := range s.With(hash(i)) {
			if ref.block.at == s.All()[i/each].block.at {
				found = true
			} else {
				others++
			}
		}
		if !found {
			t.Fatalf("hash %d is not in its block", i)
		}
		if i == 2000 {
			break
		}
	}
	if rate := float64(others) / 2000 / blocks; rate > 0.03 {
		t.Errorf("%.1f %% of the other blocks are read", 100*rate)
	}
}

// What a crash has cut off, at any byte, is detected, and nothing before it is lost.
func TestTornAtEachByte(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, 64<<20)
	fill(t, s, 1, 4, 100)
	must(t, s.Close())
	name := filepath.Join(dir, name(0))
	whole, err := os.ReadFile(name)
	must(t, err)
	block := len(whole) / 3
	for n := range whole {
		must(t, os.WriteFile(name, whole[:n], 0o600))
		s, torn, err := Open(dir, 64<<20)
		must(t, err)
		if got, want := len(s.All()), n/block; got != want || torn != (n%block != 0) {
			t.Fatalf("cut at %d: %d blocks, want %d, torn %t", n, got, want, torn)
		}
		fill(t, s, 9, 10, 100)
		if all := s.All(); len(all) != n/block+1 {
			t.Fatalf("cut at %d: %d blocks after one more", n, len(all))
		}
		must(t, s.Close())
	}
}

// A changed byte damages its block. In the last segment everything after it is cut off.
func TestDamagedAtEachByte(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, 64<<20)
	fill(t, s, 1, 3, 50)
	must(t, s.Close())
	name := filepath.Join(dir, name(0))
	whole, err := os.ReadFile(name)
	must(t, err)
	for n := range whole {
		bad := bytes.Clone(whole)
		bad[n] ^= 0x41
		must(t, os.WriteFile(name, bad, 0o600))
		s, torn, err := Open(dir, 64<<20)
		must(t, err)
		if got := len(s.All()); got != n/(len(whole)/2) || !torn {
			t.Fatalf("byte %d: %d blocks, torn %t", n, got, torn)
		}
		must(t, s.Close())
	}
}

// In other segments a damaged payload is noticed only when it is read.
func TestDamagedPayload(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, 64<<20)
	fill(t, s, 1, 3, 50)
	must(t, s.Roll(0))
	fill(t, s, 3, 4, 50)
	must(t, s.Close())
	name := filepath.Join(dir, name(0))
	whole, err := os.ReadFile(name)
	must(t, err)
	whole[len(whole)-1] ^= 1
	must(t, os.WriteFile(name, whole, 0o600))
	s, _ = open(t, dir, 64<<20)
	all := s.All()
	if len(all) != 3 {
		t.Fatalf("%d blocks", len(all))
	}
	for i, want := range []error{nil, ErrDamaged, nil} {
		if _, err := s.Read(&all[i]); !errors.Is(err, want) {
			t.Errorf("block %d: %v, want %v", i, err, want)
		}
	}
}

// The oldest blocks are removed first, by size and by time.
func TestBounds(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s, _ := open(t, dir, MinBytes)
		fill(t, s, 0, 100, 50<<10)
		all := s.All()
		if s.Bytes() > MinBytes || len(all) < 10 || all[len(all)-1].First != 99 {
			t.Errorf("%d bytes in %d blocks, the last is %d", s.Bytes(), len(all), all[len(all)-1].First)
		}
		for i := range all[1:] {
			if all[i].First+1 != all[i+1].First {
				t.Errorf("%d is followed by %d", all[i].First, all[i+1].First)
			}
		}
		gone := all[0]
		must(t, s.Roll(98))
		if got := numbers(s.All()); got[0] < 97 || s.Oldest() == gone.Segment {
			t.Errorf("after 98 there are %v", got)
		}
		if _, err := s.Read(&gone); dir != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a block that was removed: %v", err)
		}
		number := s.segments[len(s.segments)-1].number
		must(t, s.Roll(1000))
		if len(s.segments) != 1 || s.segments[0].number <= number {
			t.Errorf("segment %d after %d", s.segments[0].number, number)
		}
	}
}

func TestTooLarge(t *testing.T) {
	s, _ := open(t, "", MinBytes)
	must(t, s.Roll(0))
	if s.Append(&Block{Payload: make([]byte, MaxPayload+1)}) == nil {
		t.Error("a block above the bound is appended")
	}
}

// A file with any bytes is opened, and truncated where it is not what a Store has written.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	s, _, err := Open(dir, 64<<20)
	must(f, err)
	must(f, s.Roll(0))
	must(f, s.Append(&Block{Payload: []byte("payload"), Hashes: []uint64{1, 2, 3}, Marked: true, First: 1, Last: 2}))
	must(f, s.Close())
	good, err := os.ReadFile(filepath.Join(dir, name(0)))
	must(f, err)
	f.Add(good)
	f.Add(append(bytes.Clone(good), good...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, name(7)), data, 0o600))
		s, torn, err := Open(dir, 64<<20)
		must(t, err)
		all := s.All()
		size := int64(0)
		for _, ref := range all {
			if _, err := s.Read(&ref); err != nil {
				t.Errorf("a block that was opened: %v", err)
			}
			size += ref.block.bytes()
		}
		if size != s.Bytes() || torn != (size < int64(len(data))) {
			t.Errorf("%d of %d bytes, torn %t", size, len(data), torn)
		}
		must(t, s.Close())
	})
}
