package client

import "sync"

// positions tells a function of the user's where an acquire stands in line, in a goroutine of
// its own: a function that blocks must not hold up the reader of a session. It is told the
// newest position; those that came while it was called are dropped.
type positions struct {
	fn   func(position int)
	wake chan struct{}

	mu     sync.Mutex
	newest int  // 0 is none; guarded by mu
	begun  bool // the goroutine is there; guarded by mu
	over   bool // guarded by mu
}

// newPositions returns nil, which tells nobody, if there is no function.
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

// tell never blocks, and calls nothing of the user's.
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

// end makes this the end of it: no call begins any more. One that is under way is not waited
// for.
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
