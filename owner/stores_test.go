package owner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock"
)

// A slab, an index and the texts of claims, beside a map of what is in them.
func TestStoresAgainstMap(t *testing.T) {
	type record struct {
		hash                 uint32
		text                 textID
		key, client, request string
	}
	rapid.Check(t, func(t *rapid.T) {
		var (
			records slab[record]
			found   hashTable[uint32]
			text    texts
		)
		live := map[uint32]record{}
		word := rapid.StringN(1, 40, 60)
		add := func(t *rapid.T) {
			// Few hashes, at both ends of the table, so that the ways of many cross.
			r := record{key: word.Draw(t, "key"), client: word.Draw(t, "client"), request: word.Draw(t, "request")}
			r.hash = rapid.SampledFrom([]uint32{0, 1 << 20, 1 << 30, 1 << 31, 1<<32 - 1<<28, 1<<32 - 1}).Draw(t, "hash")
			r.text = text.put(r.key, r.client, r.request)
			id := records.take()
			if _, twice := live[id]; twice || *records.at(id) != (record{}) {
				t.Fatalf("record %d is in use", id)
			}
			live[id], *records.at(id) = r, r
			found.put(r.hash, id)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": add, "add 2": add, "add 3": add,
			"remove": func(t *rapid.T) {
				if len(live) == 0 {
					t.Skip("empty")
				}
				id := rapid.SampledFrom(slices.Sorted(maps.Keys(live))).Draw(t, "record")
				found.remove(live[id].hash, id)
				text.remove(live[id].text)
				records.give(id)
				delete(live, id)
			},
			"pack": func(t *rapid.T) {
				records.packing = true
				most := rapid.IntRange(1, 5).Draw(t, "most")
				touched := records.pack(most, func(from, to uint32) {
					found.move(live[from].hash, from, to)
					live[to] = live[from]
					delete(live, from)
				})
				if touched > most || !records.packing && records.records.len() != len(live) {
					t.Fatalf("%d were touched, of %d; %d records of %d are left", touched, most, records.records.len(), len(live))
				}
			},
			"": func(t *rapid.T) {
				for id, r := range live {
					if got := *records.at(id); got != r {
						t.Fatalf("record %d is %+v, want %+v", id, got, r)
					}
					if found.find(r.hash, func(x uint32) bool { return x == id }) != id {
						t.Fatalf("record %d is not found", id)
					}
					if key, client, request := text.get(r.text); key != r.key || client != r.client || request != r.request {
						t.Fatalf("text of %d is %q %q %q, want %+v", id, key, client, request, r)
					}
				}
				if found.find(7, func(uint32) bool { return true }) != 0 {
					t.Fatal("a hash that nobody has is found")
				}
				if records.used() != len(live) || found.len() != len(live) {
					t.Fatalf("%d records, %d in the index, want %d", records.used(), found.len(), len(live))
				}
				for _, check := range []func() error{records.check, found.check, text.check} {
					if err := check(); err != nil {
						t.Fatal(err)
					}
				}
			},
		})
	})
}

// The longest texts fit, and a text whose room was given back is not there twice.
func TestTextsOfAllLengths(t *testing.T) {
	var l texts
	ids := map[textID]int{}
	for n := 1; n <= sharelock.MaxKeyBytes; n++ {
		ids[l.put(strings.Repeat("k", n), strings.Repeat("c", min(n, sharelock.MaxClientIDBytes)), strings.Repeat("r", min(n, sharelock.MaxRequestIDBytes)))] = n
	}
	for id, n := range ids {
		key, client, request := l.get(id)
		if strings.Trim(key, "k")+strings.Trim(client, "c")+strings.Trim(request, "r") != "" ||
			len(key) != n || len(client) != min(n, sharelock.MaxClientIDBytes) || len(request) != min(n, sharelock.MaxRequestIDBytes) {
			t.Fatalf("text %d is %q %q %q", n, key, client, request)
		}
	}
	room := l.room()
	for id, n := range ids {
		l.remove(id)
		if l.put(strings.Repeat("x", n), strings.Repeat("c", min(n, sharelock.MaxClientIDBytes)), strings.Repeat("r", min(n, sharelock.MaxRequestIDBytes))) != id {
			t.Errorf("the room of text %d is not used again", n)
		}
	}
	if err := l.check(); err != nil || l.room() != room {
		t.Errorf("%d bytes of room, were %d; %v", l.room(), room, err)
	}
}

// What little is left after most has ended is as it was, and in little room, at the
// owner and at a backup.
func TestTidy(t *testing.T) {
	const n, left = 20 * shrinkFrom, 10
	p, backup := newPlay(t, 10), NewMachine(0, 10)
	from := Ref{&listener{}, 1}
	do := func(r Request) {
		t.Helper()
		r.ClientID, r.TTL, r.Send = "c", time.Minute, 1
		p.step(from, r)
		for i := range p.out.Ops {
			if err := backup.Apply(p.now, &p.out.Ops[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range n {
		p.now++
		do(Request{Kind: Acquire, Key: benchKey(i), RequestID: fmt.Sprint("r", i), Metadata: map[string]string{"n": fmt.Sprint(i)}})
	}
	for i := range 2 {
		do(Request{Kind: Acquire, Key: benchKey(i), RequestID: "waiter", Wait: 2 * time.Minute})
	}
	release := func(i int) {
		do(Request{Kind: Release, Key: benchKey(i), Token: sharelock.MakeToken(1, uint32(i+1)), SentOnce: true})
	}
	for i := range n - left {
		release(left + i*7%(n-left)) // in no order
	}
	for name, m := range map[string]*Machine{"owner": p.m, "backup": backup} {
		if err := m.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantNoRoom(t, m)
		for i := range left {
			l, _ := m.Lock(p.now, benchKey(i))
			if len(l.Holds) != 1 || l.Holds[0].RequestID != fmt.Sprint("r", i) || l.Holds[0].Metadata["n"] != fmt.Sprint(i) {
				t.Errorf("%s, key %d: %+v", name, i, l.Holds)
			}
			if want := Stretch(time.Minute) - time.Duration(n-1-i); m == p.m && l.Holds[0].ExpiresIn != want {
				t.Errorf("key %d expires in %v, want %v", i, l.Holds[0].ExpiresIn, want)
			}
			if (len(l.Waiters) == 1) != (i < 2) {
				t.Errorf("%s, key %d: %d wait", name, i, len(l.Waiters))
			}
		}
	}
	for i := range left {
		release(i)
	}
	p.check()
}
