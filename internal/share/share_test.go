package share

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// The addresses of one IPv6 network are one host.
func TestHost(t *testing.T) {
	for remote, want := range map[string]string{
		"10.0.0.1:5": "10.0.0.1", "[::ffff:10.0.0.1]:5": "10.0.0.1", "[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:5": "fe80::/64", "name:5": "name", "pipe": "pipe",
	} {
		if got := Host(addr(remote)); got != want {
			t.Errorf("%s: %q, want %q", remote, got, want)
		}
	}
	if got := Host(nil); got != "" {
		t.Errorf("no address: %q", got)
	}
	for ip, want := range map[string]string{"::ffff:1.2.3.4": "1.2.3.4", "2001:db8:1:2:3::4": "2001:db8:1:2::"} {
		if got := Network(netip.MustParseAddr(ip)); got.String() != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
}

func TestNoBound(t *testing.T) {
	p := New(0)
	for range 3 {
		pl, displaced, ok := p.Take("a", nil)
		if !ok || displaced {
			t.Fatal("refused without a bound")
		}
		pl.Leave()
	}
	if p.Taken() != 0 || p.Most() != 0 {
		t.Error("something is counted without a bound")
	}
}

// The rules of Take, compared with a count that is as simple as possible.
func TestTake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 6).Draw(t, "most")
		p := New(most)
		type one struct {
			host  string
			place *Place
		}
		var open []*one // in the order in which they were taken
		count := func(host string) (n int) {
			for _, o := range open {
				if o.host == host {
					n++
				}
			}
			return n
		}
		remove := func(gone *one) {
			for i, o := range open {
				if o == gone {
					open = append(open[:i], open[i+1:]...)
					return
				}
			}
			t.Fatal("a place was taken away twice")
		}
		newest := func(gone *one) bool {
			last := gone
			for _, o := range open {
				if o.host == gone.host {
					last = o
				}
			}
			return last == gone
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(open) > 0 && rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				o := open[rapid.IntRange(0, len(open)-1).Draw(t, "which")]
				remove(o)
				o.place.Leave()
				o.place.Leave()
			} else {
				host := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "host")
				largest := 0
				for _, o := range open {
					largest = max(largest, count(o.host))
				}
				full, evicted := len(open) == most, 0
				o := &one{host: host}
				pl, displaced, ok := p.Take(host, func() { t.Fatal("evicted by nobody") })
				want := !full || largest > count(host)+1
				if ok != want || displaced != (ok && full) {
					t.Fatalf("%s took a place: %t, displaced %t; want %t", host, ok, displaced, want)
				}
				if !ok {
					continue
				}
				if displaced {
					for _, other := range open {
						if other.place.at == nil {
							evicted++
							if count(other.host) != largest || !newest(other) {
								t.Fatalf("%s lost a place that is not the newest of a host with the most", other.host)
							}
							remove(other)
							other.place.Leave()
							break
						}
					}
					if evicted != 1 {
						t.Fatal("nobody was displaced")
					}
				}
				o.place = pl
				open = append(open, o)
				pl.evict = func() {}
			}
			if p.Taken() != len(open) {
				t.Fatalf("%d are taken, want %d", p.Taken(), len(open))
			}
		}
	})
}

// A holder that loses a place is told once, and may then use the places.
func TestEvict(t *testing.T) {
	p, told := New(2), 0
	a := func() {
		if _, _, ok := p.Take("a", func() { told++; p.Taken() }); !ok {
			t.Fatal("refused below the bound")
		}
	}
	a()
	a()
	if _, displaced, ok := p.Take("b", func() {}); !ok || !displaced || told != 1 {
		t.Errorf("want one place of a to be given to b; %d were", told)
	}
	if _, displaced, ok := p.Take("c", func() {}); ok || displaced || told != 1 {
		t.Error("c takes the only place of another host")
	}
}
