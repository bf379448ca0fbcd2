package condition

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
)

// Tracker remembers the states of a node and logs them. All methods are safe for concurrent use.
type Tracker struct {
	log *slog.Logger
	// begun is called with the code of a state that is logged for the first time; it must not
	// block.
	begun func(code string)

	mu sync.Mutex // guards what follows
	// list is in the order of the last Update.
	list []tracked
	// worst is the sentence of the worst state that counts, as of the last Update.
	worst string
	// reminded is when the last reminder was logged.
	reminded time.Duration
}

// tracked is a state that has lasted since since. Its next reminder is due at due, and pause is the
// time from the last log line to due; pause 0 means that it has not been logged at all.
type tracked struct {
	State
	since, due, pause time.Duration
}

// NewTracker returns a Tracker that writes to log, and calls begun, if it is not nil, with the code
// of each state that is logged for the first time. begun must not block.
func NewTracker(log *slog.Logger, begun func(code string)) *Tracker {
	if begun == nil {
		begun = func(string) {}
	}
	return &Tracker{log: log, begun: begun}
}

// Update replaces the states by the states at the time now.
func (t *Tracker) Update(now time.Duration, states []State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := make([]tracked, 0, len(states))
	for _, s := range states {
		state := tracked{State: s, since: now}
		if i := t.find(s); i >= 0 {
			state = t.list[i]
			state.State = s
		}
		next = append(next, state)
	}
	for _, old := range t.list {
		gone := !slices.ContainsFunc(next, func(s tracked) bool { return s.same(old.State) })
		if gone && old.pause > 0 {
			t.log.Info(old.Over, "condition", old.Code, "lasted", (now - old.since).Truncate(time.Millisecond))
		}
	}
	t.list = next
	t.say(now)
	t.worst = ""
	if list := t.conditions(now); len(list) > 0 {
		t.worst = list[0].Message
	}
}

func (s State) same(other State) bool { return s.Code == other.Code && s.Subject == other.Subject }

func (t *Tracker) find(s State) int {
	return slices.IndexFunc(t.list, func(old tracked) bool { return old.same(s) })
}

// say logs every state that is new, and at most one reminder a minute. It needs t.mu.
func (t *Tracker) say(now time.Duration) {
	oldest := -1
	for i := range t.list {
		s := &t.list[i]
		switch {
		case s.covered || now-s.since < s.after:
		case s.pause == 0:
			t.line(now, s)
			t.begun(s.Code)
			s.pause = often
			s.due = now + s.pause
			t.reminded = now
		case now >= s.due && (oldest < 0 || s.due < t.list[oldest].due):
			oldest = i
		}
	}
	if oldest < 0 || now-t.reminded < often {
		return
	}
	s := &t.list[oldest]
	t.line(now, s)
	s.pause = min(2*s.pause, max(s.every, often))
	s.due = now + s.pause
	t.reminded = now
}

func (t *Tracker) line(now time.Duration, s *tracked) {
	level := slog.LevelWarn
	if s.Severe || s.Alarm {
		level = slog.LevelError
	}
	t.log.Log(context.Background(), level, s.Sentence(now-s.since), "condition", s.Code)
}

// List returns the conditions at the time now, the worst first.
func (t *Tracker) List(now time.Duration) []sharelock.Condition {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conditions(now)
}

// conditions is List; it needs t.mu.
func (t *Tracker) conditions(now time.Duration) []sharelock.Condition {
	var list []sharelock.Condition
	for _, s := range t.list {
		if s.covered || now-s.since < s.after {
			continue
		}
		list = append(list, sharelock.Condition{
			Code: s.Code, Subject: s.Subject, Severe: s.Severe, Lasting: now - s.since, Message: s.Sentence(now - s.since),
		})
	}
	slices.SortStableFunc(list, func(a, b sharelock.Condition) int { return -cmp.Compare(rank(a.Severe), rank(b.Severe)) })
	return list
}

func rank(severe bool) int {
	if severe {
		return 1
	}
	return 0
}

// Worst returns the sentence of the worst condition as of the last Update, or "". It is cheap:
// every call that a node refuses asks for it.
func (t *Tracker) Worst() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.worst
}
