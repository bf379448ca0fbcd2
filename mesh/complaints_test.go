package mesh

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// A stall is in the status as long as it lasts, and in the log at its beginning, again and
// again, and at its end.
func TestStalls(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	v := viewOf("a", "b")
	b := v.Members[1].Identity
	var s stalls
	said := func(what string) int { return strings.Count(out.String(), what) }
	for now := time.Second; now <= 150*time.Second; now += 400 * time.Millisecond {
		s.update(log, v, []ring.Identity{b}, now, time.Second)
	}
	list := s.list(v, 150*time.Second)
	if len(list) != 1 || list[0].Member != "b" || list[0].Waiting != 150*time.Second {
		t.Errorf("stalls are %v, want b for 150 s", list)
	}
	if got := said("without progress"); got != 3 {
		t.Errorf("the log was told %d times in 150 s, want 3:\n%s", got, &out)
	}
	s.update(log, v, nil, 151*time.Second, time.Second)
	if len(s.list(v, 151*time.Second)) != 0 || said("no longer") != 1 {
		t.Errorf("a stall that is over is shown still:\n%s", &out)
	}
}
