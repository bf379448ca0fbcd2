package metrics

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

func counted(c *Calls) (list []string) {
	c.Each(func(door, method string, codes map[string]uint64, took *Histogram) {
		list = append(list, fmt.Sprint(door, " ", method, " ", codes, " ", took.Count(), " in ", took.Sum()))
	})
	return list
}

func TestCalls(t *testing.T) {
	c := NewCalls()
	get, acquire := c.Method("http", "get"), c.Method("grpc", "acquire")
	c.Method("http", "list")
	if c.Method("http", "get") != get {
		t.Error("one method has two counters")
	}
	get.Record(OK, time.Second)
	get.Record("NOT_HELD", time.Second)
	var b Batch
	b.Flush()
	for range len(b.calls) + 1 {
		b.Record(acquire, OK, time.Second)
	}
	b.Record(get, "NOT_HELD", 0)
	want := []string{"grpc acquire map[OK:8] 8 in 8", "http get map[NOT_HELD:1 OK:1] 2 in 2"}
	if got := counted(c); !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	b.Flush()
	b.Flush()
	want = []string{"grpc acquire map[OK:9] 9 in 9", "http get map[NOT_HELD:2 OK:1] 3 in 2"}
	if got := counted(c); !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Without Calls nothing is counted, and callers need not check for nil.
func TestNoCalls(t *testing.T) {
	var c *Calls
	m := c.Method("http", "get")
	m.Record(OK, 1)
	var b Batch
	for range 100 {
		b.Record(m, OK, 1)
	}
	b.Flush()
	if m != nil || b.n != 0 {
		t.Error("something is counted")
	}
}

func TestBatchDoesNotAllocate(t *testing.T) {
	c := NewCalls()
	m := c.Method("session", "acquire")
	var b Batch
	if n := testing.AllocsPerRun(1000, func() { b.Record(m, OK, 1); b.Record(m, "LOCK_HELD", 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
