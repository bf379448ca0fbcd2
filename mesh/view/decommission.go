package view

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// Decommission gives up the seat of the absent voter with this name or id, and returns when Raft's
// configuration shows it (V1).
func (l *Leader) Decommission(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*l.lease())
	defer cancel()
	e, err := l.electorate(ctx)
	if err != nil {
		return err
	}
	voters, _ := e.split()
	e.confirmed = l.ask(ctx, voters)
	id, err := e.absentee(name, l.agree.State())
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.given[id] = true
	l.mu.Unlock()
	// The order is valid for this absence only: a voter that comes back, with or without its seat,
	// is treated like any other.
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.given, id)
	}()
	l.log.Info("an operator gives up a seat", "voter", id, "name", name)
	tick := time.NewTicker(l.interval())
	defer tick.Stop()
	for {
		seats, err := l.agree.Seats()
		if err == nil && !slices.Contains(seats, Seat{ID: id, Voter: true}) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the seat of %s is not given up yet: %w", name, context.Cause(ctx))
		case <-l.ctx.Done():
			return fmt.Errorf("the seat of %s is not given up yet: the leader has changed", name)
		}
	}
}

// absentee returns the id of the absent voter of this name or id.
func (e electorate) absentee(name string, s State) (id string, err error) {
	voters, _ := e.split()
	present, absent := e.divide(voters)
	is := func(id string) bool { return id == name || s.NameOf(id) == name }
	if slices.ContainsFunc(present, is) && !slices.ContainsFunc(absent, is) {
		return "", fmt.Errorf("%s is not absent: it gives up its seat with 'sharelock leave --for-good'", name)
	}
	for _, other := range absent {
		switch {
		case !is(other):
		case id != "":
			return "", fmt.Errorf("%s is the name of two absent voters: say which one, %s or %s", name, id, other)
		default:
			id = other
		}
	}
	if id == "" {
		return "", fmt.Errorf("no absent voter has the name or id %s", name)
	}
	if !e.commits(voters, id, "") {
		return "", fmt.Errorf("%d of %d seats answer, too few to give up the seat of %s", len(e.voting(voters)), len(voters), name)
	}
	return id, nil
}

// NameOf returns the name of the process with this id in the newest view that contains it, or "".
func (s State) NameOf(id string) string { return s.LastOf(id).Name }

// LastOf returns the process with this id as it is in the newest view that contains it, or the zero
// Member.
func (s State) LastOf(id string) ring.Member {
	for _, v := range slices.Backward(s.History.Views) {
		if m, ok := v.FindID(id); ok {
			return m
		}
	}
	return ring.Member{}
}

// Survivable returns how many more voters may fail before no view can be agreed on, when absent of
// the voters do not answer.
func Survivable(voters, absent int) int { return max(voters-absent-(voters/2+1), 0) }

// sayAbsent logs the absent voters, at level debug, when they have changed. Operators learn of them
// from the log of every node (package condition).
func (l *Leader) sayAbsent(e electorate) {
	voters, _ := e.split()
	_, absent := e.divide(voters)
	s, names := l.agree.State(), make([]string, len(absent))
	for i, id := range absent {
		names[i] = fmt.Sprintf("%s (%s)", s.NameOf(id), id)
	}
	missing := strings.Join(names, ", ")
	if missing == l.missing {
		return
	}
	l.missing = missing
	left := Survivable(len(voters), len(absent))
	if missing == "" {
		l.log.Debug("all seats answer", "seats", len(voters), "survivable_losses", left)
		return
	}
	l.log.Debug("seats are absent", "absent", missing, "seats", len(voters), "survivable_losses", left)
}
