package finished

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
)

// remember adds an id of a key to those that are over.
func (f *IDs) remember(queue int, key, request string, until time.Duration) {
	f.Add(queue, ID{Digest: DigestOf(key, "", request), Until: until})
}

// expire forgets what is over by now.
func (f *IDs) expire(now time.Duration) (gone int) {
	f.Forget(now, 1<<30, func(ID) { gone++ })
	return gone
}

// Finished ids go one by one, and a claim that comes again ends one early.
func TestFinishedIDs(t *testing.T) {
	f := New()
	for i, id := range []string{"a", "b", "c", "a"} {
		f.remember(Ended, "k", id, time.Duration(10+i))
	}
	f.Remove("k", "", "b")
	f.Remove("k", "", "b")
	f.Remove("other", "", "a")
	f.expire(9)
	if !f.Has("k", "", "a") || f.Has("k", "", "b") || !f.Has("k", "", "c") || f.Has("other", "", "a") || f.Has("a", "", "k") {
		t.Error("before their time: want a and c")
	}
	// The second add of a made it live longer.
	f.expire(12)
	if !f.Has("k", "", "a") || f.Has("k", "", "c") {
		t.Error("after the time of c: want a")
	}
	// A clock that goes back does not break the order.
	f.remember(Ended, "k", "d", 5)
	if oldest := f.next; f.at(f.find(new(DigestOf("k", "", "d")))).Until != oldest {
		t.Errorf("d is forgotten before a, at %v", oldest)
	}
	// A fence has a shorter life, whatever is remembered beside it.
	f.remember(Fence, "k", "e", 7)
	if first := f.next; first != 7 {
		t.Errorf("the first is forgotten at %v, want the fence at 7", first)
	}
	f.expire(7)
	if f.Has("k", "", "e") || !f.Has("k", "", "d") {
		t.Error("after the time of the fence: want d, and not the fence")
	}
	if err := f.Check(); err != nil {
		t.Error(err)
	}
	f.Remove("k", "", "d")
	f.expire(13)
	if err := f.Check(); err != nil || f.Len() != 0 {
		t.Errorf("%d ids are left, %v", f.Len(), err)
	}
}

// Key, principal and id are told apart in a digest.
func TestDigests(t *testing.T) {
	seen := map[Digest]string{}
	for _, x := range [][3]string{
		{"a", "", "b"},
		{"ab", "", ""},
		{"", "", "ab"},
		{"b", "", "a"},
		{"a", "", "bb"},
		{"ab", "", "b"},
		{strings.Repeat("k", sharelock.MaxKeyBytes), "", "r"},
		{"a", "p", "b"},
		{"a", "q", "b"},
		{"a", "pa", "b"},
		{"pa", "", "b"},
		{"a", "b", ""},
		{"", "a", "b"},
		{"", "p", "ab"},
		{strings.Repeat("k", sharelock.MaxKeyBytes), strings.Repeat("p", sharelock.MaxPrincipalBytes), "r"},
	} {
		d := DigestOf(x[0], x[1], x[2])
		if was, ok := seen[d]; ok {
			t.Errorf("%q has the digest of %s", x, was)
		}
		seen[d] = fmt.Sprintf("%q", x)
	}
	// It is in copies: it must be the same everywhere, for ever.
	if d := fmt.Sprintf("%x", DigestOf("orders/42", "", "r-7")); d != "6cbaf4c1bb9f7d90c86ce1021397feb7" {
		t.Errorf("digest %s", d)
	}
	if d := fmt.Sprintf("%x", DigestOf("orders/42", "ci", "r-7")); d != "801c8c57166656a13b9beed596c1922a" {
		t.Errorf("digest %s with a principal", d)
	}
}

// However many ids go, they leave no room behind, and the rest is as it was.
func TestFinishedIDsLeaveNoRoom(t *testing.T) {
	const n, left = 10 * compact.ShrinkFrom, 10
	for name, drop := range map[string]func(f *IDs){
		"forgotten": func(f *IDs) { f.expire(n - left) },
		"removed": func(f *IDs) {
			for i := range n - left {
				f.Remove("k", "", fmt.Sprint(i+1))
			}
		},
		"removed, the newest first": func(f *IDs) {
			for i := range n - left {
				f.Remove("k", "", fmt.Sprint(n-left-i))
			}
			f.expire(0)
		},
	} {
		f := New()
		for i := range n {
			f.remember(Ended, "k", fmt.Sprint(i+1), time.Duration(i+1))
		}
		drop(&f)
		if err := f.Check(); err != nil || f.Len() != left || len(f.queues[Ended].chunks)*chunkLen >= compact.ShrinkFrom {
			t.Errorf("%s: %d are left in %d chunks; %v", name, f.Len(), len(f.queues[Ended].chunks), err)
		}
		if !f.Has("k", "", fmt.Sprint(n)) || f.Has("k", "", "1") {
			t.Errorf("%s: the wrong ones are left", name)
		}
	}
}

// Numbers of the queue go round, and no step touches more than it may.
func TestFinishedNumbersGoRound(t *testing.T) {
	f := New()
	f.queues[Fence].first = queueBit - 3
	for i := range 3 * chunkLen {
		f.remember(Fence, "k", fmt.Sprint(i), time.Duration(i))
		if err := f.Check(); err != nil || !f.Has("k", "", fmt.Sprint(i)) {
			t.Fatalf("id %d: %v", i, err)
		}
	}
	if n := f.expire(chunkLen); n != chunkLen+1 {
		t.Errorf("%d were forgotten, want %d", n, chunkLen+1)
	}
	gone := 0
	f.Forget(time.Hour, 7, func(ID) { gone++ })
	if gone != 7 || f.Check() != nil {
		t.Errorf("%d were forgotten in a step of 7, %v", gone, f.Check())
	}
}

// Finished ids beside a list of them.
func TestFinishedAgainstList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := New()
		type known struct {
			digest Digest
			until  time.Duration
			queue  int
		}
		var list []known
		var now time.Duration
		var last [2]time.Duration
		some := func(t *rapid.T) (key, request string) {
			return rapid.StringMatching("[ab]{1,2}").Draw(t, "key"), rapid.StringMatching("[ab]{1,3}").Draw(t, "request")
		}
		drop := func(d Digest) { list = slices.DeleteFunc(list, func(o known) bool { return o.digest == d }) }
		add := func(t *rapid.T) {
			key, request := some(t)
			queue := rapid.IntRange(0, 1).Draw(t, "queue")
			o := known{DigestOf(key, "", request), now + time.Duration(rapid.IntRange(1, 20).Draw(t, "left")), queue}
			drop(o.digest)
			if !slices.ContainsFunc(list, func(x known) bool { return x.queue == queue }) {
				last[queue] = 0
			}
			last[queue] = max(last[queue], o.until)
			o.until = last[queue]
			list = append(list, o)
			f.remember(queue, key, request, o.until)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": add, "add 2": add,
			"remove": func(t *rapid.T) {
				key, request := some(t)
				drop(DigestOf(key, "", request))
				f.Remove(key, "", request)
			},
			"forget": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 5).Draw(t, "pass"))
				list = slices.DeleteFunc(list, func(o known) bool { return o.until <= now })
				f.expire(now)
			},
			"": func(t *rapid.T) {
				if f.Len() != len(list) {
					t.Fatalf("%d are known, want %v", f.Len(), list)
				}
				for _, o := range list {
					if id := f.find(&o.digest); id == 0 || f.at(id).Until != o.until || int(id/queueBit) != o.queue {
						t.Fatalf("%v is not found, or not as it was", o)
					}
				}
				if err := f.Check(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// Check finds what is out of order.
func TestCheck(t *testing.T) {
	for name, spoil := range map[string]func(f *IDs){
		"order": func(f *IDs) { f.queues[Fence].at(1).Until = time.Hour },
		"index": func(f *IDs) { f.ids.Remove(f.hash(&f.queues[Fence].at(1).Digest), 1|queueBit) },
		"count": func(f *IDs) { f.ids.Put(7, 1<<20) },
		"room":  func(f *IDs) { f.queues[Ended].chunks = make([]*[chunkLen]ID, 1) },
	} {
		f := New()
		f.remember(Fence, "k", "a", time.Second)
		f.remember(Fence, "k", "b", time.Minute)
		if err := f.Check(); err != nil {
			t.Fatal(err)
		}
		if spoil(&f); f.Check() == nil {
			t.Errorf("%s: nothing is found", name)
		}
	}
}
