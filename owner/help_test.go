package owner

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// Whoever waits for an answer has the work done in its own goroutine while the loop
// rests, and by the loop while somebody else is at it.
func TestHelp(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("a", 1)
		tb.deal("a")
		sh := tb.owner("k").service.shard(ring.PartitionOf("k", testPartitions))
		synctest.Wait()

		done := 0 // the race detector sees it if a loop changes it while this goroutine reads
		if !sh.putInline(item{fn: func(*shard) { done++ }}) || done != 1 {
			t.Errorf("done %d times when help returned, want 1", done)
		}

		sh.turn <- struct{}{} // somebody works
		sh.put(item{fn: func(*shard) { done += 10 }})
		if !sh.putInline(item{fn: func(*shard) { done += 100 }}) || done != 1 {
			t.Errorf("%d was done although it is another's turn", done)
		}
		<-sh.turn
		synctest.Wait()
		if done != 111 {
			t.Errorf("%d is done when the loop has had its turn, want 111", done)
		}
	})
}

// An item that comes when another has just taken what waited is not forgotten.
func TestHelpWhileOneWorks(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("a", 1)
		tb.deal("a")
		sh := tb.owner("k").service.shard(ring.PartitionOf("k", testPartitions))
		synctest.Wait()
		order := ""
		sh.putInline(item{fn: func(*shard) {
			sh.putInline(item{fn: func(*shard) { order += "2" }}) // its own turn is not over
			order += "1"
		}})
		synctest.Wait()
		if order != "12" {
			t.Errorf("order %q, want 12", order)
		}
	})
}

// latest is a caller that keeps the newest answer.
type latest struct{ got Answer }

func (c *latest) Answer(_ uint64, a Answer) { c.got = a }
func (*latest) Alive() bool                 { return true }

// A deadline that helping has brought is met to the moment, though the loop meant to
// sleep longer.
func TestHelpRousesForDeadlines(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("a", 1)
		tb.deal("a")
		a := tb.owner("k")
		sh := a.service.shard(ring.PartitionOf("k", testPartitions))
		time.Sleep(idleWake / 10)
		// A turn that takes long: the loop goes to sleep at its end, not at its beginning.
		sh.put(item{quick: true, fn: func(*shard) { time.Sleep(idleWake / 2) }})
		time.Sleep(idleWake / 2)
		synctest.Wait()
		serve := func(c *latest, r Request) {
			a.service.ServeInline(a.service.clock(), ring.PartitionOf("k", testPartitions), Ref{Caller: c, ID: 1}, &r)
		}
		var first, second latest
		held, waits := acquireOf("k", "c", 0), acquireOf("k", "d", idleWake-100*time.Millisecond)
		serve(&first, held)
		serve(&second, waits)
		if first.got.Outcome != Done {
			t.Fatalf("the answer is %v when ServeInline returned", first.got.Outcome)
		}
		synctest.Wait() // the loop sleeps until then
		sh.turn <- struct{}{}
		if !sh.hasNext || sh.next < sh.until {
			t.Error("every help would rouse the loop for the deadline that it sleeps for")
		}
		<-sh.turn
		time.Sleep(waits.Wait)
		synctest.Wait()
		if second.got.Outcome != Failed {
			t.Errorf("when its wait is over the waiter has %v", second.got)
		}
	})
}

// gatherer is a caller that notes in which order it is called, and whether the turn was over.
type gatherer struct {
	sh    *shard
	calls string
}

func (g *gatherer) Answer(uint64, Answer) { g.calls += "answer " }
func (*gatherer) Alive() bool             { return true }
func (g *gatherer) Hold()                 { g.calls += "hold " }

func (g *gatherer) Flush() {
	select {
	case g.sh.turn <- struct{}{}:
		<-g.sh.turn
		g.calls += "flush "
	default:
		g.calls += "flush-in-turn "
	}
}

// The caller of the only answer of a turn in its own goroutine may send the answer itself, after the
// turn. The callers of several answers, or of those of the loop, are not called for that.
func TestHelpFlushesOneAnswer(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("a", 1)
		tb.deal("a")
		a := tb.owner("k")
		partition := ring.PartitionOf("k", testPartitions)
		sh := a.service.shard(partition)
		synctest.Wait()
		g := &gatherer{sh: sh}
		r := acquireOf("k", "c", 0)
		a.service.ServeInline(a.service.clock(), partition, Ref{Caller: g, ID: 1}, &r)
		if want := "hold answer flush "; g.calls != want {
			t.Errorf("alone: called %q, want %q", g.calls, want)
		}
		g.calls = ""
		sh.turn <- struct{}{}
		a.service.SubmitAt(a.service.clock(), partition, Ref{Caller: g, ID: 2}, &r)
		<-sh.turn
		synctest.Wait()
		if want := "answer "; g.calls != want {
			t.Errorf("from the loop: called %q, want %q", g.calls, want)
		}
		g.calls = ""
		sh.mu.Lock() // two requests, which the next helper finds
		for id := range uint64(2) {
			sh.inbox = append(sh.inbox, item{partition: partition, at: a.service.clock(), ref: Ref{Caller: g, ID: 3 + id}, req: &r})
		}
		two := sh.inbox
		sh.inbox = nil
		sh.mu.Unlock()
		sh.putInline(item{quick: true, fn: func(sh *shard) {
			for i := range two {
				sh.handle(sh.now, &two[i])
			}
		}})
		if want := "answer answer "; g.calls != want {
			t.Errorf("two: called %q, want %q", g.calls, want)
		}
	})
}

// Whoever helps may be used to surviving panics, as a handler of gRPC is. A panic in the
// work ends the process all the same.
func TestHelpPanics(t *testing.T) {
	const env = "SHARELOCK_TEST_HELP_PANICS"
	if os.Getenv(env) != "" {
		defer func() { recover() }() //nolint:errcheck // as the handler would
		s := NewService(Config{Partitions: 1, Shards: 1, Clock: func() time.Duration { return 1 }, MaxTTL: time.Minute})
		s.shard(0).putInline(item{fn: func(*shard) { panic("half a step") }})
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelpPanics$")
	cmd.Env = append(os.Environ(), env+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "half a step") || !strings.Contains(string(out), "help_test.go") {
		t.Errorf("the process ended with %v:\n%s", err, out)
	}
}
