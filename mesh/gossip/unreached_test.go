package gossip

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A process knows which of its seeds do not answer, and no longer when they do.
func TestUnreached(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		a := gs.start(testMeta("a", 1), nil, "a:7946", "b:7946", "nowhere:7946")
		time.Sleep(time.Second)
		list := a.Unreached()
		if len(list) != 2 || list[0].Seed != "b:7946" || list[1].Seed != "nowhere:7946" {
			t.Fatalf("unreached are %v, want b and nowhere", list)
		}
		for _, u := range list {
			if u.Why == "" || strings.Contains(u.Why, "\n") {
				t.Errorf("%s: %q", u.Seed, u.Why)
			}
		}
		gs.start(testMeta("b", 1), nil, "a:7946")
		time.Sleep(10 * time.Second)
		if list := a.Unreached(); len(list) != 1 || list[0].Seed != "nowhere:7946" {
			t.Errorf("unreached are %v, want nowhere", list)
		}
		gs.kill("b")
		time.Sleep(30 * time.Second)
		if list := a.Unreached(); len(list) != 2 {
			t.Errorf("unreached are %v, want b again", list)
		}
	})
}

func TestPlainReasons(t *testing.T) {
	g := &Gossip{cfg: Config{Meta: testMeta("a", 1)}}
	for want, err := range map[string]error{
		"":                             nil,
		"it belongs to another mesh":   fmt.Errorf("x: %w", errForeignGossip),
		"connection refused":           fmt.Errorf("dial: %w", syscall.ECONNREFUSED),
		"timeout":                      os.ErrDeadlineExceeded,
		"it closed the connection":     fmt.Errorf("read: %w", io.EOF),
		"what answers is no gossip":    errors.New("received invalid msgType (72), expected pushPullMsg (6)"),
		"1 error occurred: * whatever": errors.New("1 error occurred:\n\t* whatever\n\n"),
	} {
		if got := g.plain(err); !strings.HasPrefix(got, want) || (want == "") != (got == "") {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}
