package compact

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock"
)

// A slab, a hash table and an arena of claims, compared with a map of their contents.
func TestStoresAgainstMap(t *testing.T) {
	type record struct {
		hash                 uint32
		text                 TextID
		key, client, request string
	}
	rapid.Check(t, func(t *rapid.T) {
		var (
			records Slab[record]
			found   HashTable[uint32]
			text    arena
		)
		live := map[uint32]record{}
		word := rapid.StringN(1, 40, 60)
		add := func(t *rapid.T) {
			// Few hashes, at both ends of the table, so that many probe sequences overlap.
			r := record{key: word.Draw(t, "key"), client: word.Draw(t, "client"), request: word.Draw(t, "request")}
			r.hash = rapid.SampledFrom([]uint32{0, 1 << 20, 1 << 30, 1 << 31, 1<<32 - 1<<28, 1<<32 - 1}).Draw(t, "hash")
			r.text = text.put(r.key, r.client, r.request)
			id := records.Take()
			if _, twice := live[id]; twice || *records.At(id) != (record{}) {
				t.Fatalf("record %d is in use", id)
			}
			live[id], *records.At(id) = r, r
			found.Put(r.hash, id)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": add, "add 2": add, "add 3": add,
			"remove": func(t *rapid.T) {
				if len(live) == 0 {
					t.Skip("empty")
				}
				id := rapid.SampledFrom(slices.Sorted(maps.Keys(live))).Draw(t, "record")
				found.Remove(live[id].hash, id)
				text.remove(live[id].text)
				records.Give(id)
				delete(live, id)
			},
			"pack": func(t *rapid.T) {
				records.packing = true
				most := rapid.IntRange(1, 5).Draw(t, "most")
				touched := records.Pack(most, func(from, to uint32) {
					found.Renumber(live[from].hash, from, to)
					live[to] = live[from]
					delete(live, from)
				})
				if touched > most || !records.packing && records.Last() != len(live) {
					t.Fatalf("%d were touched, of %d; %d records of %d are left", touched, most, records.Last(), len(live))
				}
			},
			"": func(t *rapid.T) {
				for id, r := range live {
					if got := *records.At(id); got != r {
						t.Fatalf("record %d is %+v, want %+v", id, got, r)
					}
					if found.Find(r.hash, func(x uint32) bool { return x == id }) != id {
						t.Fatalf("record %d is not found", id)
					}
					if key, client, request := text.strings(r.text); key != r.key || client != r.client || request != r.request {
						t.Fatalf("text of %d is %q %q %q, want %+v", id, key, client, request, r)
					}
				}
				if found.Find(7, func(uint32) bool { return true }) != 0 {
					t.Fatal("a hash that nobody has is found")
				}
				if records.Used() != len(live) || found.Len() != len(live) {
					t.Fatalf("%d records, %d in the index, want %d", records.Used(), found.Len(), len(live))
				}
				for _, check := range []func() error{records.Check, found.Check, text.check} {
					if err := check(); err != nil {
						t.Fatal(err)
					}
				}
			},
		})
	})
}

// The longest texts fit, and a text whose memory was freed and used again does not appear twice.
func TestTextsOfAllLengths(t *testing.T) {
	var l arena
	ids := map[TextID]int{}
	for n := 1; n <= sharelock.MaxKeyBytes; n++ {
		ids[l.put(strings.Repeat("k", n), strings.Repeat("c", min(n, sharelock.MaxClientIDBytes)), strings.Repeat("r", min(n, sharelock.MaxRequestIDBytes)))] = n
	}
	for id, n := range ids {
		key, client, request := l.strings(id)
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
