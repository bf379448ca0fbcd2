// Package share bounds what clients may have open at a node, and shares it among their hosts: while
// all places are taken, a host that has fewer places than another one takes that one's newest place.
// A host that takes many harms only itself.
package share

import (
	"container/list"
	"sync"
)

// Places is a bounded number of places. Create it with [New]. The methods are safe for concurrent
// use, and their cost does not depend on the number of hosts.
type Places struct {
	most int

	mu    sync.Mutex
	hosts map[string]*host // those that have a place; guarded by mu
	// ranks are those hosts by the number of their places, and top is the largest of these numbers.
	// Guarded by mu.
	ranks map[int]map[*host]struct{}
	top   int
	taken int // guarded by mu
}

// host is a host that has places.
type host struct {
	name   string
	places *list.List // of *Place, in the order in which they were taken
}

// Place is a place that was taken. The nil place is that of an unbounded number.
type Place struct {
	of    *Places
	host  *host
	evict func()
	// at is the element in the list of the host; nil when the place is no longer taken. Guarded by Places.mu.
	at *list.Element
}

// New returns Places with most places; 0 means no bound.
func New(most int) *Places {
	return &Places{most: most, hosts: map[string]*host{}, ranks: map[int]map[*host]struct{}{}}
}

// Most returns the number of places; 0 is no bound.
func (p *Places) Most() int { return p.most }

// Taken returns the number of places that are taken; 0 without a bound.
func (p *Places) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// Take takes a place for a host, named by [Host]. ok is false if there is none for it; displaced is set
// if another host had to give up one. evict is called if the place is later given to another host: it
// must close what the place was taken for, and must not block.
func (p *Places) Take(name string, evict func()) (pl *Place, displaced, ok bool) {
	if p.most <= 0 {
		return nil, false, true
	}
	p.mu.Lock()
	h := p.hosts[name]
	if h == nil {
		h = &host{name: name, places: list.New()}
	}
	var loser *Place
	if p.taken >= p.most {
		if p.top <= h.places.Len()+1 {
			p.mu.Unlock()
			return nil, false, false
		}
		for other := range p.ranks[p.top] {
			loser = other.places.Back().Value.(*Place)
			break
		}
		p.drop(loser)
	}
	pl = &Place{of: p, host: h, evict: evict}
	p.move(h, func() { pl.at = h.places.PushBack(pl) })
	p.taken++
	p.mu.Unlock()
	if loser != nil {
		loser.evict()
	}
	return pl, loser != nil, true
}

// Leave returns the place. It may be called more than once, and after evict.
func (pl *Place) Leave() {
	if pl == nil {
		return
	}
	pl.of.mu.Lock()
	defer pl.of.mu.Unlock()
	if pl.at != nil {
		pl.of.drop(pl)
	}
}

// drop takes a place away. The caller must hold mu.
func (p *Places) drop(pl *Place) {
	p.move(pl.host, func() { pl.host.places.Remove(pl.at) })
	pl.at = nil
	p.taken--
}

// move changes the places of a host by one, and its rank with them. The caller must hold mu.
func (p *Places) move(h *host, change func()) {
	before := h.places.Len()
	if delete(p.ranks[before], h); len(p.ranks[before]) == 0 {
		delete(p.ranks, before)
	}
	change()
	after := h.places.Len()
	if after == 0 {
		delete(p.hosts, h.name)
	} else {
		p.hosts[h.name] = h
		if p.ranks[after] == nil {
			p.ranks[after] = map[*host]struct{}{}
		}
		p.ranks[after][h] = struct{}{}
	}
	// One step is enough: the host had at most one place less than the top, or has the top itself.
	if p.top = max(p.top, after); p.ranks[p.top] == nil {
		p.top--
	}
}
