package owner

import (
	"fmt"
	"runtime/debug"
	"time"
)

// An item is one entry of a shard's inbox: a request, or a function to run in the shard's turn.
type item struct {
	partition uint32
	at        time.Duration
	ref       Ref
	req       *Request
	fn        func(*shard)
	// quick is set if fn uses the shard's now and does not read the clock.
	quick bool
}

// put queues an item for the loop. It returns false if the shard has stopped.
func (sh *shard) put(it item) bool {
	first, ok := sh.queue(it)
	if first {
		sh.wake.Set()
	}
	return ok
}

// putInline is put for a caller that holds no lock and would only wait for the item. If nobody
// has the shard's turn, it does the loop's work in the caller's goroutine, callbacks included. So
// a single item costs no wake-up of another goroutine, which may cost more than the work.
func (sh *shard) putInline(it item) bool {
	first, ok := sh.queue(it)
	if !first {
		return ok // the caller whose item was first takes care of this one, too
	}
	select {
	case sh.turn <- struct{}{}:
	default:
		sh.wake.Set()
		return true
	}
	defer crashOnPanic()
	sh.inline = true
	sh.work(false)
	sh.inline = false
	early := sh.hasNext && sh.next < sh.until || sh.unfinished()
	alone := sh.alone
	sh.alone = nil
	<-sh.turn
	if early {
		sh.wake.Set()
	}
	if alone != nil {
		alone.Flush()
	}
	return true
}

// queue adds an item to the inbox. first reports that the inbox was empty, so that the caller
// has to wake somebody.
func (sh *shard) queue(it item) (first, ok bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return false, false
	}
	sh.inbox = append(sh.inbox, it)
	return len(sh.inbox) == 1, true
}

// crashOnPanic is deferred and turns a panic into the end of the process. The caller may be a
// server that recovers from panics, but a machine must not live on after half a step.
func crashOnPanic() {
	if p := recover(); p != nil {
		stack := debug.Stack()
		go func() { panic(fmt.Sprintf("%v\n\n%s", p, stack)) }()
		select {}
	}
}
