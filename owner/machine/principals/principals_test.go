package principals

import (
	"maps"
	"strings"
	"testing"
)

// count returns what a table says of each principal: its holds and waiters.
func count(p *Table) map[string][2]int {
	all := map[string][2]int{}
	p.Each(func(name string, holds, waiters int) { all[name] = [2]int{holds, waiters} })
	return all
}

// A principal is there from its first claim to its last, with one number all the while.
func TestTable(t *testing.T) {
	var p Table
	if _, has := p.ConnOf("ci"); has || p.Len() != 0 {
		t.Fatal("an empty table has principals")
	}
	ci := p.Enter("ci", 7, true)
	if again := p.Enter("ci", 8, false); again != ci {
		t.Errorf("its second claim has the number %d, not %d", again, ci)
	}
	ops := p.Enter("ops", 9, false)
	if got, want := count(&p), map[string][2]int{"ci": {1, 1}, "ops": {0, 1}}; !maps.Equal(got, want) || p.Len() != 2 {
		t.Errorf("counted %v, want %v", got, want)
	}
	if conn, has := p.ConnOf("ci"); conn != 7 || !has || p.Conn(ci) != 7 || p.Name(ci) != "ci" {
		t.Errorf("number %d is %q of connection %d, and by its name of %d", ci, p.Name(ci), p.Conn(ci), conn)
	}
	p.Granted(ops)
	p.Leave(ci, true)
	if got, want := count(&p), map[string][2]int{"ci": {0, 1}, "ops": {1, 0}}; !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	p.Leave(ci, false)
	if _, has := p.ConnOf("ci"); has || p.Len() != 1 {
		t.Error("a principal without claims is still there")
	}
	if other := p.Enter("new", 1, true); other != ci || p.Name(other) != "new" {
		t.Errorf("a new principal has the number %d, %d is free", other, ci)
	}
	p.Leave(ops, true)
	p.Leave(ci, true)
	if p.Len() != 0 || p.numbers != nil {
		t.Errorf("a table without claims keeps %v", p.numbers)
	}
}

func TestCheck(t *testing.T) {
	table := func(fill func(p *Table)) *Table {
		p := &Table{}
		p.Enter("ci", 7, true)
		p.Enter("ops", 9, false)
		fill(p)
		return p
	}
	want := table(func(*Table) {})
	for _, tt := range []struct {
		name string
		fill func(p *Table)
		err  string // "" for none
	}{
		{"the same", func(*Table) {}, ""},
		{"the same in another order", func(p *Table) {
			p.Leave(1, true)
			p.Enter("x", 1, true)
			p.Enter("ci", 7, true)
			p.Leave(1, true)
		}, ""},
		{"one more", func(p *Table) { p.Enter("x", 1, true) }, "2 principals of 3"},
		{"another", func(p *Table) {
			p.Leave(2, false)
			p.Enter("x", 1, false)
		}, `"x" has no claim`},
		{"more claims", func(p *Table) { p.Enter("ci", 7, true) }, `"ci" counts as`},
		{"a waiter for a hold", func(p *Table) { p.Granted(2) }, `"ops" counts as`},
	} {
		err := table(tt.fill).Check(want)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
	}
}
