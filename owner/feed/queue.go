package feed

import (
	"context"
	"slices"
	"time"
)

// Most and MostBytes bound the news that wait in a feed, in number and in bytes. The read of a
// prefix waits while there is more than half of MostBytes.
const (
	Most      = 16384
	MostBytes = 16 << 20
)

// After each Take a feed rests for takeCost, so that a node with a steady stream of events takes
// more of them at a time. A feed that was idle has credit. Results of reads do not wait.
const (
	takeCost   = 2 * time.Millisecond
	takeCredit = 40 * time.Millisecond
)

// A newsQueue has the news that wait for a node.
type newsQueue struct {
	news  []News
	bytes int
	// urgent is set if there is anything but events. room is closed when news are taken; it is nil
	// if nothing waits for that.
	urgent bool
	room   chan struct{}
}

// add adds news. If too much waits, everything that waits is dropped.
func (q *newsQueue) add(n News, size int) {
	if len(q.news) >= Most || q.bytes+size > MostBytes && len(q.news) > 0 {
		q.drop()
	}
	q.news = append(q.news, n)
	q.bytes += size
	q.urgent = q.urgent || n.Event == nil
}

// drop drops everything, and queues the notice of that.
func (q *newsQueue) drop() {
	clear(q.news)
	q.news, q.bytes, q.urgent = append(q.news[:0], News{}), 0, true
}

// take empties the queue.
func (q *newsQueue) take() []News {
	news := q.news
	if q.room != nil {
		close(q.room)
	}
	*q = newsQueue{}
	return news
}

// offer queues the events that the node may watch. It is called in a shard's turn, so it does not
// look at the prefixes: Take does.
func (f *Feed) offer(events []*Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	for _, e := range events {
		if _, sure := f.keys[e.Key]; sure || f.patterns > 0 {
			f.push(News{Event: e, unsure: !sure}, e.size())
		}
	}
}

// push queues news. It needs mu.
func (f *Feed) push(n News, size int) {
	if len(f.queue.news) == 0 || n.Event == nil {
		f.wake.Set()
	}
	f.queue.add(n, size)
}

// Pass queues a part of the result of a Read.
func (f *Feed) Pass(p *Part) {
	size := 0
	for _, e := range p.Events {
		size += e.size()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.push(News{Part: p}, size)
	}
}

// lose tells the node that events were dropped.
func (f *Feed) lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.queue.drop()
		f.wake.Set()
	}
}

// size returns about how many bytes an event takes.
func (e *Event) size() int {
	return len(e.Key) + len(e.ClientID) + len(e.Principal) + len(e.Reason) + 256
}

// Take waits for news and returns what is queued. It fails with ErrClosed after Close, and with
// the error of the context if that ends first. Only one goroutine may call it.
func (f *Feed) Take(ctx context.Context) ([]News, error) {
	for {
		news, rest, err := f.taken()
		if len(news) > 0 || err != nil {
			return news, err
		}
		var rested <-chan time.Time
		if rest > 0 {
			rested = time.After(rest)
		}
		select {
		case <-f.wake:
		case <-rested:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// taken returns what is queued, or how long the feed still rests.
func (f *Feed) taken() (news []News, rest time.Duration, err error) {
	f.mu.Lock()
	now := time.Now()
	if f.closed {
		f.mu.Unlock()
		return nil, 0, ErrClosed
	}
	if len(f.queue.news) == 0 {
		f.mu.Unlock()
		return nil, 0, nil
	}
	if rest = f.quiet.Sub(now); rest > 0 && !f.queue.urgent {
		f.mu.Unlock()
		return nil, rest, nil
	}
	news = f.queue.take()
	f.mu.Unlock()
	f.quiet = now.Add(f.pace.Spend(now, takeCost))
	return f.matched(news), 0, nil
}

// matched returns the news without the events that no prefix matches.
func (f *Feed) matched(news []News) []News {
	f.matching.Lock()
	defer f.matching.Unlock()
	return slices.DeleteFunc(news, func(n News) bool { return n.unsure && !f.prefixes.Any(n.Event.Key) })
}

// AwaitRoom waits until half of the queue is free. It returns false if the feed is closed or ctx
// has ended.
func (f *Feed) AwaitRoom(ctx context.Context) bool {
	for {
		f.mu.Lock()
		if f.closed || f.queue.bytes <= MostBytes/2 {
			closed := f.closed
			f.mu.Unlock()
			return !closed && ctx.Err() == nil
		}
		if f.queue.room == nil {
			f.queue.room = make(chan struct{})
		}
		room := f.queue.room
		f.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
}
