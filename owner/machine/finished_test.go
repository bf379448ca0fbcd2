package machine

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
func (f *finishedIDs) remember(queue int, key, request string, until time.Duration) {
	f.add(queue, finishedID{digest: digestOf(key, "", request), until: until})
}

// expire forgets what is over by now.
func (f *finishedIDs) expire(now time.Duration) (gone int) {
	f.forget(now, 1<<30, func(finishedID) { gone++ })
	return gone
}

// Finished ids go one by one, and a claim that comes again ends one early.
func TestFinishedIDs(t *testing.T) {
	f := newFinishedIDs()
	for i, id := range []string{"a", "b", "c", "a"} {
		f.remember(queueEnded, "k", id, time.Duration(10+i))
	}
	f.remove("k", "", "b")
	f.remove("k", "", "b")
	f.remove("other", "", "a")
	f.expire(9)
	if !f.has("k", "", "a") || f.has("k", "", "b") || !f.has("k", "", "c") || f.has("other", "", "a") || f.has("a", "", "k") {
		t.Error("before their time: want a and c")
	}
	// The second add of a made it live longer.
	f.expire(12)
	if !f.has("k", "", "a") || f.has("k", "", "c") {
		t.Error("after the time of c: want a")
	}
	// A clock that goes back does not break the order.
	f.remember(queueEnded, "k", "d", 5)
	if oldest := f.next; f.at(f.find(new(digestOf("k", "", "d")))).until != oldest {
		t.Errorf("d is forgotten before a, at %v", oldest)
	}
	// A fence has a shorter life, whatever is remembered beside it.
	f.remember(queueFence, "k", "e", 7)
	if first := f.next; first != 7 {
		t.Errorf("the first is forgotten at %v, want the fence at 7", first)
	}
	f.expire(7)
	if f.has("k", "", "e") || !f.has("k", "", "d") {
		t.Error("after the time of the fence: want d, and not the fence")
	}
	if err := f.check(); err != nil {
		t.Error(err)
	}
	f.remove("k", "", "d")
	f.expire(13)
	if err := f.check(); err != nil || f.len() != 0 {
		t.Errorf("%d ids are left, %v", f.len(), err)
	}
}

// Key, principal and id are told apart in a digest.
func TestDigests(t *testing.T) {
	seen := map[digest]string{}
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
		d := digestOf(x[0], x[1], x[2])
		if was, ok := seen[d]; ok {
			t.Errorf("%q has the digest of %s", x, was)
		}
		seen[d] = fmt.Sprintf("%q", x)
	}
	// It is in copies: it must be the same everywhere, for ever.
	if d := fmt.Sprintf("%x", digestOf("orders/42", "", "r-7")); d != "6cbaf4c1bb9f7d90c86ce1021397feb7" {
		t.Errorf("digest %s", d)
	}
	if d := fmt.Sprintf("%x", digestOf("orders/42", "ci", "r-7")); d != "801c8c57166656a13b9beed596c1922a" {
		t.Errorf("digest %s with a principal", d)
	}
}

// However many ids go, they leave no room behind, and the rest is as it was.
func TestFinishedIDsLeaveNoRoom(t *testing.T) {
	const n, left = 10 * compact.ShrinkFrom, 10
	for name, drop := range map[string]func(f *finishedIDs){
		"forgotten": func(f *finishedIDs) { f.expire(n - left) },
		"removed": func(f *finishedIDs) {
			for i := range n - left {
				f.remove("k", "", fmt.Sprint(i+1))
			}
		},
		"removed, the newest first": func(f *finishedIDs) {
			for i := range n - left {
				f.remove("k", "", fmt.Sprint(n-left-i))
			}
			f.expire(0)
		},
	} {
		f := newFinishedIDs()
		for i := range n {
			f.remember(queueEnded, "k", fmt.Sprint(i+1), time.Duration(i+1))
		}
		drop(&f)
		if err := f.check(); err != nil || f.len() != left || len(f.queues[queueEnded].chunks)*chunkLen >= compact.ShrinkFrom {
			t.Errorf("%s: %d are left in %d chunks; %v", name, f.len(), len(f.queues[queueEnded].chunks), err)
		}
		if !f.has("k", "", fmt.Sprint(n)) || f.has("k", "", "1") {
			t.Errorf("%s: the wrong ones are left", name)
		}
	}
}

// Numbers of the queue go round, and no step touches more than it may.
func TestFinishedNumbersGoRound(t *testing.T) {
	f := newFinishedIDs()
	f.queues[queueFence].first = queueBit - 3
	for i := range 3 * chunkLen {
		f.remember(queueFence, "k", fmt.Sprint(i), time.Duration(i))
		if err := f.check(); err != nil || !f.has("k", "", fmt.Sprint(i)) {
			t.Fatalf("id %d: %v", i, err)
		}
	}
	if n := f.expire(chunkLen); n != chunkLen+1 {
		t.Errorf("%d were forgotten, want %d", n, chunkLen+1)
	}
	gone := 0
	f.forget(time.Hour, 7, func(finishedID) { gone++ })
	if gone != 7 || f.check() != nil {
		t.Errorf("%d were forgotten in a step of 7, %v", gone, f.check())
	}
}

// Finished ids beside a list of them.
func TestFinishedAgainstList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFinishedIDs()
		type known struct {
			digest digest
			until  time.Duration
			queue  int
		}
		var list []known
		var now time.Duration
		var last [2]time.Duration
		some := func(t *rapid.T) (key, request string) {
			return rapid.StringMatching("[ab]{1,2}").Draw(t, "key"), rapid.StringMatching("[ab]{1,3}").Draw(t, "request")
		}
		drop := func(d digest) { list = slices.DeleteFunc(list, func(o known) bool { return o.digest == d }) }
		add := func(t *rapid.T) {
			key, request := some(t)
			queue := rapid.IntRange(0, 1).Draw(t, "queue")
			o := known{digestOf(key, "", request), now + time.Duration(rapid.IntRange(1, 20).Draw(t, "left")), queue}
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
				drop(digestOf(key, "", request))
				f.remove(key, "", request)
			},
			"forget": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 5).Draw(t, "pass"))
				list = slices.DeleteFunc(list, func(o known) bool { return o.until <= now })
				f.expire(now)
			},
			"": func(t *rapid.T) {
				if f.len() != len(list) {
					t.Fatalf("%d are known, want %v", f.len(), list)
				}
				for _, o := range list {
					if id := f.find(&o.digest); id == 0 || f.at(id).until != o.until || int(id/queueBit) != o.queue {
						t.Fatalf("%v is not found, or not as it was", o)
					}
				}
				if err := f.check(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}
