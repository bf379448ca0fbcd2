package client

import "sync"

// positions calls a function of the user with the position of an acquire in the queue. It does so in a
// goroutine of its own, because a function that blocks must not delay the reader of a session. Positions that
// come during a call are dropped but the newest.
type positions struct {
	fn   func(position int)
	wake chan struct{}

	mu     sync.Mutex
	newest int  // 0 is none; guarded by mu
	begun  bool // the goroutine was started; guarded by mu
	over   bool // guarded by mu
}

// newPositions returns nil if fn is nil.
func newPositions(fn func(position int)) *positions {
	if fn == nil {
		return nil
	}
	return &positions{fn: fn, wake: make(chan struct{}, 1)}
}

// teller returns tell, or nil if nobody is told.
func (p *positions) teller() func(position int) {
	if p == nil {
		return nil
	}
	return p.tell
}

// tell passes on a position. It does not block and does not call fn itself.
func (p *positions) tell(position int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	p.newest = position
	if !p.begun {
		p.begun = true
		go p.run()
	}
	p.rouse()
}

// end keeps further calls from beginning. It does not wait for one that has begun. p may be nil.
func (p *positions) end() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.rouse()
}

func (p *positions) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *positions) run() {
	told := 0
	for range p.wake {
		p.mu.Lock()
		position, over := p.newest, p.over
		p.mu.Unlock()
		if over {
			return
		}
		if position != told {
			told = position
			p.fn(position)
		}
	}
}
