package linear

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// story builds the history of one key by hand; its times are milliseconds, its tokens small numbers.
type story struct {
	calls    []Call
	troubled time.Time
}

func at(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }

// add adds a call. A call that ends at 0 has no answer.
func (s *story) add(c Call, from, to int) *Call {
	c.Key, c.Start = "k", at(from)
	if to > 0 {
		c.End = at(to)
	} else {
		c.Outcome = Unknown
	}
	s.calls = append(s.calls, c)
	return &s.calls[len(s.calls)-1]
}

// grant adds an acquire that was granted, safe for 100 ms from its send.
func (s *story) grant(id string, token uint64, from, to int) *Call {
	return s.add(Call{
		Op: Acquire, RequestID: id, Client: "of " + id, Outcome: OK, Token: sharelock.Token(token), SafeUntil: at(from + 100),
	}, from, to)
}

// lostAcquire adds an acquire without an answer.
func (s *story) lostAcquire(id string, from int) {
	s.add(Call{Op: Acquire, RequestID: id, Client: "of " + id}, from, 0)
}

// call adds a call that names a token.
func (s *story) call(op Op, token uint64, o Outcome, from, to int) *Call {
	c := Call{Op: op, Outcome: o, Token: sharelock.Token(token)}
	if op == Renew && o == OK {
		c.SafeUntil = at(from + 100)
	}
	return s.add(c, from, to)
}

func holds(tokens ...uint64) []Hold {
	var list []Hold
	for _, t := range tokens {
		list = append(list, Hold{Token: sharelock.Token(t)})
	}
	return list
}

// get adds a read that shows these holders.
func (s *story) get(from, to int, tokens ...uint64) {
	s.add(Call{Op: Get, Outcome: OK, Holds: holds(tokens...)}, from, to)
}

// tests has histories that have an order, and some that have none.
var tests = map[string]struct {
	tell func(s *story)
	want string // a text in the error; "" means no error
}{
	"one after the other": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Renew, 1, OK, 11, 12)
		s.call(Release, 1, OK, 20, 30)
		s.grant("b", 2, 5, 25)
		s.get(40, 41, 2)
	}, ""},
	"double grant": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.grant("b", 2, 5, 20)
	}, "one of these would have to be next:\n    +5ms of b acquire id b token 0/2: done, safe until +105ms at +20ms"},
	"after the deadline": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.grant("b", 2, 5, 100)
	}, ""},
	"a millisecond before the deadline": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.grant("b", 2, 5, 99)
	}, "not linearizable"},
	"before the deadline of a renewal": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Renew, 1, OK, 50, 60)
		s.grant("b", 2, 5, 149)
	}, "not linearizable"},
	"after the deadline of a renewal": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Renew, 1, OK, 50, 60)
		s.grant("b", 2, 5, 150)
	}, ""},
	"before the deadline of a retry": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.grant("a", 1, 50, 60)
		s.grant("b", 2, 5, 149)
	}, "not linearizable"},
	"a renewal with an earlier deadline, later": {func(s *story) {
		s.grant("a", 1, 50, 60)
		s.call(Renew, 1, OK, 70, 80).SafeUntil = at(71)
		s.grant("b", 2, 5, 149)
	}, "not linearizable"},
	"a renewal without an answer": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Renew, 1, Unknown, 50, 0)
		s.grant("b", 2, 5, 101)
	}, ""},
	"an expiry is seen only once it can have been": {func(s *story) {
		// The read ends before the deadline that the grant requires to have passed.
		s.grant("a", 1, 0, 10)
		s.grant("b", 2, 5, 120)
		s.get(20, 90, 2)
	}, "not linearizable"},
	"token going back": {func(s *story) {
		s.grant("a", 2, 0, 10)
		s.call(Release, 2, OK, 20, 30)
		s.grant("b", 1, 40, 50)
	}, "not linearizable"},
	"tokens against the order of the answers": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Release, 1, OK, 20, 30)
		s.grant("b", 3, 21, 60)
		s.grant("c", 2, 22, 40)
		s.call(Release, 2, OK, 41, 50)
	}, ""},
	"a token for two": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.grant("b", 1, 5, 20)
	}, "not linearizable"},
	"an id granted twice": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Release, 1, OK, 20, 30)
		s.grant("a", 2, 40, 50)
	}, "not linearizable"},
	"an id granted twice after a loss": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.troubled = at(20)
		s.call(Release, 1, OK, 20, 30)
		s.grant("a", 2, 40, 50)
	}, ""},
	"stale renewal accepted": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.grant("b", 2, 50, 120)
		s.call(Renew, 1, OK, 130, 140)
	}, "+130ms  renew token 0/1: done"},
	"stale check": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.grant("b", 2, 50, 120)
		s.add(Call{Op: CheckToken, Outcome: OK, Token: 1, Current: true, Holds: holds(1)}, 130, 140)
	}, "check token 0/1: done, current true"},
	"a check of the holder": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.grant("b", 2, 50, 120)
		s.add(Call{Op: CheckToken, Outcome: OK, Token: 1, Holds: holds(2)}, 130, 140)
		s.add(Call{Op: CheckToken, Outcome: OK, Token: 2, Current: true, Holds: holds(2)}, 130, 140)
	}, ""},
	"a check that contradicts itself": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.add(Call{Op: CheckToken, Outcome: OK, Token: 1, Current: false, Holds: holds(1)}, 20, 30)
	}, "not linearizable"},
	"released twice": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Release, 1, OK, 20, 30)
		s.call(Release, 1, OK, 40, 50)
	}, "not linearizable"},
	"released, then not held": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Release, 1, OK, 20, 30)
		s.call(Release, 1, Refused, 40, 50)
		s.call(Renew, 1, Refused, 40, 50)
	}, ""},
	"lost update: the hold is gone": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Renew, 1, Refused, 20, 30)
	}, "not linearizable"},
	"lost update: the release is gone": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Release, 1, OK, 20, 30)
		s.get(40, 50, 1)
	}, "not linearizable"},
	"a refused renewal after the deadline": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Renew, 1, Refused, 20, 100)
		s.call(Renew, 1, Refused, 110, 120)
	}, ""},
	"expired for one and held for another": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Renew, 1, Refused, 110, 120)
		s.call(Renew, 1, OK, 130, 140)
	}, "not linearizable"},
	"a read that misses the holder": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.get(20, 30)
	}, "not linearizable"},
	"a read that shows some": {func(s *story) {
		s.grant("a", 1, 0, 10).Mode = sharelock.Shared
		s.grant("b", 2, 0, 10).Mode = sharelock.Shared
		s.add(Call{Op: Get, Outcome: OK, Holds: holds(2), Some: true}, 20, 30)
	}, ""},
	"a read that misses one": {func(s *story) {
		s.grant("a", 1, 0, 10).Mode = sharelock.Shared
		s.grant("b", 2, 0, 10).Mode = sharelock.Shared
		s.get(20, 30, 2)
	}, "not linearizable"},
	"a refusal that names the holder": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.add(Call{Op: Acquire, RequestID: "b", Outcome: Refused, Holds: holds(1)}, 20, 30)
	}, ""},
	"a refusal that names who released": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Release, 1, OK, 11, 12)
		s.add(Call{Op: Acquire, RequestID: "b", Outcome: Refused, Holds: holds(1)}, 20, 30)
	}, "not linearizable"},

	"no answer, and it took effect": {func(s *story) {
		s.lostAcquire("a", 0)
		s.get(20, 30, 1)
		s.grant("a", 1, 40, 50)
		s.call(Release, 1, OK, 60, 70)
		s.grant("b", 2, 10, 80)
	}, ""},
	"no answer, and it took effect late": {func(s *story) {
		s.lostAcquire("b", 0)
		s.grant("a", 1, 10, 20)
		s.call(Release, 1, OK, 30, 40)
		s.get(50, 60)
		s.get(70, 80, 2)
	}, ""},
	"no answer, and no effect": {func(s *story) {
		s.lostAcquire("a", 0)
		s.get(20, 30)
		s.grant("b", 1, 40, 50)
	}, ""},
	"no answer, and its hold is taken back": {func(s *story) {
		s.lostAcquire("a", 0)
		s.get(20, 30, 1)
		s.grant("b", 2, 40, 50)
	}, ""},
	"no answer, but the hold comes back": {func(s *story) {
		s.lostAcquire("a", 0)
		s.get(20, 30, 1)
		s.grant("b", 2, 40, 50)
		s.get(60, 70, 1)
	}, "not linearizable"},
	"no answer, and not possible": {func(s *story) {
		s.grant("b", 1, 0, 10)
		s.lostAcquire("a", 15)
		s.add(Call{Op: Get, Outcome: OK, Holds: []Hold{{Token: 2, RequestID: "a"}}}, 20, 30)
	}, "not linearizable"},
	"no answers, and tokens going back": {func(s *story) {
		s.lostAcquire("a", 0)
		s.lostAcquire("b", 0)
		s.get(20, 30, 2)
		s.get(40, 50, 1)
	}, "not linearizable"},
	"no answer, and a token from before it was asked": {func(s *story) {
		s.grant("b", 2, 0, 10)
		s.call(Release, 2, OK, 11, 12)
		s.lostAcquire("c", 15)
		s.get(20, 30, 1)
	}, "not linearizable"},
	"no answer, and granted to another": {func(s *story) {
		s.lostAcquire("a", 0)
		s.add(Call{Op: Get, Outcome: OK, Holds: []Hold{{Token: 1, RequestID: "b"}}}, 20, 30)
	}, "token 0/1 was not granted to any acquire, but seen by\n    +20ms  get: done, holders 0/1 at +30ms"},
	"a holder that never asked": {func(s *story) {
		s.get(20, 30, 1)
	}, "token 0/1 was not granted to any acquire"},
	"seen before it was asked for": {func(s *story) {
		s.get(20, 30, 1)
		s.lostAcquire("a", 40)
	}, "not linearizable"},
	"a release without an answer took effect": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Release, 1, Unknown, 20, 0)
		s.get(30, 40, 1)
		s.grant("b", 2, 50, 60)
	}, ""},
	"a release without an answer took no effect": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Release, 1, Unknown, 20, 0)
		s.call(Renew, 1, OK, 30, 40)
		s.grant("b", 2, 50, 130)
	}, ""},
	"a release without an answer does not hold": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Release, 1, Unknown, 20, 0)
		s.grant("b", 2, 50, 60)
		s.get(70, 80, 1)
	}, "not linearizable"},
	"a release of nothing is done": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.grant("b", 2, 20, 101)
		s.troubled = at(105)
		s.call(Release, 1, OK, 110, 120)
		s.call(Renew, 2, OK, 130, 140)
	}, ""},
	"a release of nothing is done, and nobody was in trouble": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.grant("b", 2, 20, 101)
		s.call(Release, 1, OK, 110, 120)
	}, "not linearizable"},
	"a release is refused for nothing": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Release, 1, Refused, 20, 30)
	}, "not linearizable"},

	"lost with the state": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.troubled = at(15)
		s.call(Renew, 1, Refused, 20, 30)
		s.call(Release, 1, OK, 31, 32)
		s.grant("b", 2, 40, 100)
	}, ""},
	"lost before its answer came, and refused": {func(s *story) {
		s.add(Call{Op: Acquire, RequestID: "a", Client: "of a", Outcome: Refused}, 0, 80)
		s.add(Call{Op: Acquire, RequestID: "b", Outcome: Refused, Holds: []Hold{{Token: 1, RequestID: "a"}}}, 5, 10)
		s.troubled = at(15)
		s.grant("c", 2, 20, 70)
	}, ""},
	"refused although it holds the key": {func(s *story) {
		s.add(Call{Op: Acquire, RequestID: "a", Client: "of a", Outcome: Refused}, 0, 80)
		s.add(Call{Op: Acquire, RequestID: "b", Outcome: Refused, Holds: []Hold{{Token: 1, RequestID: "a"}}}, 5, 10)
		s.grant("c", 2, 20, 70)
	}, "token 0/1 was not granted to any acquire"},
	"refused before anything was lost": {func(s *story) {
		s.add(Call{Op: Acquire, RequestID: "a", Client: "of a", Outcome: Refused}, 0, 80)
		s.add(Call{Op: Acquire, RequestID: "b", Outcome: Refused, Holds: []Hold{{Token: 1, RequestID: "a"}}}, 5, 10)
		s.grant("c", 2, 20, 70)
		s.troubled = at(90)
	}, "token 0/1 was not granted to any acquire"},
	"granted before the lost lock has ended": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.troubled = at(15)
		s.call(Renew, 1, Refused, 20, 30)
		s.grant("b", 2, 40, 99)
	}, "not linearizable"},
	"lost, and back": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.troubled = at(15)
		s.call(Renew, 1, Refused, 20, 30)
		s.call(Renew, 1, OK, 40, 50)
	}, "not linearizable"},
	"lost state read as free": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.troubled = at(15)
		s.call(Renew, 1, Refused, 20, 30)
		s.get(40, 50)
	}, "not linearizable"},

	"shared": {func(s *story) {
		s.grant("a", 1, 0, 10).Mode = sharelock.Shared
		s.grant("b", 2, 5, 20).Mode = sharelock.Shared
		s.get(30, 40, 1, 2)
	}, ""},
	"shared and exclusive": {func(s *story) {
		s.grant("a", 1, 0, 10).Mode = sharelock.Shared
		s.grant("b", 2, 5, 20)
	}, "not linearizable"},
	"exclusive and shared": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.grant("b", 2, 5, 20).Mode = sharelock.Shared
	}, "not linearizable"},
	"two slots": {func(s *story) {
		s.grant("a", 1, 0, 10).Slots = 2
		s.grant("b", 2, 5, 20).Slots = 2
		s.get(30, 40, 1, 2)
	}, ""},
	"three in two slots": {func(s *story) {
		for i := range 3 {
			s.grant(fmt.Sprint(i), uint64(i+1), 0, 10).Slots = 2
		}
	}, "not linearizable"},
	"a slot becomes free": {func(s *story) {
		s.grant("a", 1, 0, 10).Slots = 2
		s.grant("b", 2, 50, 60).Slots = 2
		s.grant("c", 3, 50, 100).Slots = 2
		s.call(Renew, 2, OK, 110, 120)
	}, ""},
	"a slot that was not free": {func(s *story) {
		s.grant("a", 1, 0, 10).Slots = 2
		s.grant("b", 2, 50, 60).Slots = 2
		s.grant("c", 3, 50, 100).Slots = 2
		s.call(Renew, 1, OK, 110, 120)
	}, "not linearizable"},
	"two slots and three": {func(s *story) {
		s.grant("a", 1, 0, 10).Slots = 2
		s.grant("b", 2, 5, 20).Slots = 3
	}, "not linearizable"},
	"slots and a mutex": {func(s *story) {
		s.grant("a", 1, 0, 10).Slots = 2
		s.grant("b", 2, 5, 20)
	}, "not linearizable"},

	"forced": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Force, 1, OK, 15, 30)
		s.grant("b", 2, 16, 20)
	}, ""},
	"forced, but held": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Force, 1, OK, 15, 30)
		s.call(Renew, 1, OK, 40, 50)
	}, "not linearizable"},
	"all forced": {func(s *story) {
		s.grant("a", 1, 0, 10).Mode = sharelock.Shared
		s.grant("b", 2, 0, 10).Mode = sharelock.Shared
		s.call(Force, 0, OK, 15, 30)
		s.get(40, 50)
	}, ""},
	"forced without an answer": {func(s *story) {
		s.grant("a", 1, 0, 10)
		s.call(Force, 0, Unknown, 15, 0)
		s.get(20, 30, 1)
		s.get(40, 50)
	}, ""},
}

func TestCheck(t *testing.T) {
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			s := &story{}
			c.tell(s)
			expect(t, Check(s.calls, s.troubled), c.want)
		})
	}
}

func expect(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error: %v\nwant none", err)
	case want == "":
	case err == nil || !strings.Contains(err.Error(), want):
		t.Errorf("error: %v\nwant: %s", err, want)
	case !errors.Is(err, ErrIllegal) || errors.Is(err, ErrUndecided) || !strings.HasPrefix(err.Error(), `key "k": `):
		t.Errorf("error %v is of the wrong kind", err)
	}
}

// TestOtherKeys: keys are independent, and every violated one is named.
func TestOtherKeys(t *testing.T) {
	s := &story{}
	for i, key := range []string{"a", "b", "c"} {
		s.grant("x", 7, 0, 10).Key = key
		if i > 0 {
			s.grant("y", 8, 20, 30).Key = key
		}
	}
	err := Check(s.calls, time.Time{})
	if err == nil || strings.Contains(err.Error(), `key "a"`) || !strings.Contains(err.Error(), `key "b": not`) || !strings.Contains(err.Error(), `key "c": not`) {
		t.Error(err)
	}
	if err := Check(nil, time.Time{}); err != nil {
		t.Error(err)
	}
}

// crowd is a history of n clients that wait for a key in one queue and hold it for 10 ms each. Some
// renew, and every 20th has no answer to its release.
func crowd(n int) *story {
	s := &story{}
	for i := range n {
		from, now, token := max(0, i-16)*10, i*10, uint64(i+1)
		s.grant(fmt.Sprint("w", i), token, from, now+5).SafeUntil = at(now + 50)
		s.call(Renew, token, OK, now+6, now+7)
		if i%20 == 19 {
			s.call(Release, token, Unknown, now+8, 0)
		} else {
			s.call(Release, token, OK, now+8, now+9)
		}
	}
	return s
}

func TestLongHistory(t *testing.T) {
	s := crowd(2000)
	if err := Check(s.calls, time.Time{}); err != nil {
		t.Fatal(err)
	}
	// The last but one is granted what the one before still holds.
	s.grant("twice", 2001, 19990, 19997)
	s.grant("again", 2002, 19990, 19998)
	if err := Check(s.calls, time.Time{}); !errors.Is(err, ErrIllegal) {
		t.Fatal(err)
	}
}

// TestCuts: a history that is searched in parts gives the same result as a whole. Only which of several
// slots became free is forgotten at a cut.
func TestCuts(t *testing.T) {
	for name, c := range tests {
		s := &story{}
		c.tell(s)
		for most := 1; most < len(s.calls); most++ {
			err := limits{most, mostSteps}.check(s.calls, s.troubled)
			if errors.Is(err, errTooLong) {
				continue // no place to cut
			}
			if (err == nil) != (c.want == "") && name != "a slot that was not free" {
				t.Errorf("%s, in parts of %d: %v", name, most, err)
			}
		}
	}
}

// TestNotDecided: a history that cannot be decided is an error, but not a violation.
func TestNotDecided(t *testing.T) {
	s := crowd(100)
	for name, l := range map[string]limits{"steps": {mostCalls, 200}, "no cut": {20, mostSteps}} {
		if err := l.check(s.calls, time.Time{}); !errors.Is(err, ErrUndecided) || errors.Is(err, ErrIllegal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
