// Package principals counts the claims of each principal in a copy of a partition. Many claims belong
// to few principals, so a claim has the number of its principal, in the place of the connection to
// whose share it would count without one. A claim without a principal takes nothing here.
//
// The package is pure, like the machine that it is for.
package principals

import (
	"fmt"

	"github.com/sgkandale/sharelock/internal/compact"
)

// A Table has the principals that have claims. The zero value is empty.
type Table struct {
	// numbers finds the number of a principal by its name. It is nil if there is none.
	numbers map[string]uint32
	list    compact.Slab[principal]
}

// A principal is one principal that has claims.
type principal struct {
	name string
	// conn is the number to whose share the finished ids of the principal count (Q6).
	conn uint32
	// holds and waiters are the numbers of its claims.
	holds, waiters int32
}

// Enter counts a new claim of a principal and returns the principal's number. conn is the number for
// its share if it has no claim yet.
func (p *Table) Enter(name string, conn uint32, held bool) uint32 {
	n, known := p.numbers[name]
	if !known {
		if p.numbers == nil {
			p.numbers = map[string]uint32{}
		}
		n = p.list.Take()
		*p.list.At(n) = principal{name: name, conn: conn}
		p.numbers[name] = n
	}
	if of := p.list.At(n); held {
		of.holds++
	} else {
		of.waiters++
	}
	return n
}

// Granted counts a waiter of a principal as a hold.
func (p *Table) Granted(n uint32) {
	of := p.list.At(n)
	of.waiters--
	of.holds++
}

// Leave takes a claim off the count of its principal, and forgets the principal with its last claim.
func (p *Table) Leave(n uint32, held bool) {
	of := p.list.At(n)
	if held {
		of.holds--
	} else {
		of.waiters--
	}
	if of.holds > 0 || of.waiters > 0 {
		return
	}
	delete(p.numbers, of.name)
	p.list.Give(n)
	if len(p.numbers) == 0 {
		*p = Table{} // a map never gives memory back
	}
}

// Len returns the number of principals.
func (p *Table) Len() int { return len(p.numbers) }

// Name returns the name of the principal with a number.
func (p *Table) Name(n uint32) string { return p.list.At(n).name }

// Conn returns the number to whose share the finished ids of a principal count (Q6).
func (p *Table) Conn(n uint32) uint32 { return p.list.At(n).conn }

// ConnOf is Conn by the name of a principal. It returns false if the principal has no claim.
func (p *Table) ConnOf(name string) (conn uint32, has bool) {
	n, has := p.numbers[name]
	if !has {
		return 0, false
	}
	return p.list.At(n).conn, true
}

// Each calls fn for each principal with the numbers of its claims, in any order.
func (p *Table) Each(fn func(name string, holds, waiters int)) {
	for name, n := range p.numbers {
		of := p.list.At(n)
		fn(name, int(of.holds), int(of.waiters))
	}
}

// Check returns an error unless the table is like another one.
func (p *Table) Check(want *Table) error {
	if len(p.numbers) != len(want.numbers) || p.list.Used() != len(p.numbers) {
		return fmt.Errorf("%d principals of %d have claims", len(want.numbers), p.list.Used())
	}
	for name, n := range p.numbers {
		if want.numbers[name] == 0 {
			return fmt.Errorf("principal %q has no claim", name)
		}
		if is, should := p.list.At(n), want.list.At(want.numbers[name]); *is != *should {
			return fmt.Errorf("principal %q counts as %+v, want %+v", name, *is, *should)
		}
	}
	return nil
}
