package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/ring"
)

const (
	// answerTime is how long a member may take to answer.
	answerTime = 5 * time.Second
	// maxAsked is the maximum number of members that are asked at the same time.
	maxAsked = 16
)

// Members are those whose keys are changed together.
type Members struct {
	// Members are all members of the view, this process among them.
	Members []ring.Member
	// Absent are the names of the processes that have a seat and are not in the view.
	Absent []string
}

// MeshConfig is what a Mesh needs of its node.
type MeshConfig struct {
	Self ring.Identity
	Own  *Keys
	// Members returns the members of the view. It fails while there is no view, and if the view
	// does not support Call.
	Members func() (Members, error)
	// Changed returns a channel that is closed at the next change of the view.
	Changed func() <-chan struct{}
	// Call asks another member.
	Call func(ctx context.Context, m ring.Member, r Request) (Report, error)
	// Log is never nil.
	Log *slog.Logger
}

// Mesh changes the keys of all members of the view, from one member. Several members may do so at
// the same time: after each step, every member still has every key with which a member encrypts.
// All methods are safe for concurrent use.
type Mesh struct{ cfg MeshConfig }

// NewMesh returns a Mesh.
func NewMesh(cfg MeshConfig) *Mesh { return &Mesh{cfg} }

// answer is what a member has answered.
type answer struct {
	member ring.Member
	report Report
	err    error
}

// ask asks members, several at a time.
func (m *Mesh) ask(ctx context.Context, members []ring.Member, r Request) []answer {
	answers := make([]answer, len(members))
	slots := make(chan struct{}, maxAsked)
	var calls sync.WaitGroup
	for i, member := range members {
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			answers[i] = answer{member: member}
			a := &answers[i]
			if member.Identity == m.cfg.Self {
				a.report, a.err = m.cfg.Own.Do(r)
				return
			}
			ctx, cancel := context.WithTimeout(ctx, answerTime)
			defer cancel()
			a.report, a.err = m.cfg.Call(ctx, member, r)
		})
	}
	calls.Wait()
	return answers
}

// Keyring returns which keys the members have, and the keys themselves if withKeys is set. A member
// that does not answer is listed with its error.
func (m *Mesh) Keyring(ctx context.Context, withKeys bool) (sharelock.Keyring, error) {
	of, err := m.cfg.Members()
	if err != nil {
		return sharelock.Keyring{}, err
	}
	return summary(m.ask(ctx, of.Members, Request{WithKeys: withKeys})), nil
}

// Change makes a change on all members and returns the keys after it. The error is a
// [sharelock.Error]: ErrNotConfirmed names the members that have not confirmed a step, and it can
// be repeated.
func (m *Mesh) Change(ctx context.Context, c sharelock.KeyringChange) (sharelock.Keyring, error) {
	steps, err := plan(c)
	if err == nil {
		err = m.run(ctx, c, steps)
	}
	if err != nil {
		return sharelock.Keyring{}, err
	}
	return m.Keyring(ctx, false)
}

// plan returns the first step of a change.
func plan(c sharelock.KeyringChange) (r Request, err error) {
	switch c.Action {
	case sharelock.InstallKey:
		r.Action = Install
		r.Key, err = ParseKey(c.Key)
	case sharelock.UseKey:
		r.Action = Use
		r.Fingerprint, err = ParseFingerprint(c.Key)
	case sharelock.RemoveKey:
		r.Action = Remove
		r.Fingerprint, err = ParseFingerprint(c.Key)
	case sharelock.RotateKeys:
		r.Action, r.Key = Install, Generate()
		if c.Key != "" {
			err = errors.New("a rotation makes its key itself; it must be empty")
		}
	default:
		return r, sharelock.Invalid("action", "is not known")
	}
	if err != nil {
		return r, sharelock.Invalid("key", err.Error())
	}
	return r, nil
}

// run makes a change whose first step is r.
func (m *Mesh) run(ctx context.Context, c sharelock.KeyringChange, r Request) error {
	answers, err := m.prepare(ctx, c)
	if err != nil {
		return err
	}
	if err := allows(answers, r); err != nil {
		return err
	}
	if err := m.step(ctx, r); err != nil {
		return err
	}
	if c.Action != sharelock.RotateKeys {
		return nil
	}
	fresh := r.Key.Fingerprint()
	if err := m.step(ctx, Request{Action: Use, Fingerprint: fresh}); err != nil {
		return err
	}
	return m.removeOthers(ctx, fresh)
}

// prepare asks all members for their keys before anything is changed, so that a change does not
// begin if a member does not answer or has its keys from a file.
func (m *Mesh) prepare(ctx context.Context, c sharelock.KeyringChange) ([]answer, error) {
	of, err := m.cfg.Members()
	if err != nil {
		return nil, err
	}
	// Installing a key does not lock out any member.
	if len(of.Absent) > 0 && c.Action != sharelock.InstallKey && !c.WithoutAbsent {
		return nil, &sharelock.Error{Err: sharelock.ErrNotConfirmed, Message: fmt.Sprintf(
			"nothing was changed: %s would not have the key when back; start it, give up its seat (decommission), or leave it out (--without-absent)",
			strings.Join(of.Absent, ", "))}
	}
	answers := m.ask(ctx, of.Members, Request{})
	if err := failure("nothing was changed", answers); err != nil {
		return nil, err
	}
	for _, refused := range []struct {
		by  func(Report) bool
		err error
	}{
		{func(r Report) bool { return r.FromFile }, ErrFromFile},
		{func(r Report) bool { return r.Mode == Off }, ErrOff},
	} {
		if by := having(answers, refused.by); len(by) > 0 {
			return nil, sharelock.Invalid("action", fmt.Sprintf("%v (%s)", refused.err, strings.Join(by, ", ")))
		}
	}
	return answers, nil
}

// allows refuses a step after which a member might encrypt with a key that another member does not
// have.
func allows(answers []answer, r Request) error {
	f := r.Fingerprint
	switch r.Action {
	case Use:
		if without := having(answers, func(r Report) bool { return !slices.Contains(r.Keys, f) }); len(without) > 0 {
			return sharelock.Invalid("key", fmt.Sprintf("%v is not installed on %s: install it first", f, strings.Join(without, ", ")))
		}
	case Remove:
		if by := having(answers, func(r Report) bool { return len(r.Keys) > 0 && r.Keys[0] == f }); len(by) > 0 {
			return sharelock.Invalid("key", fmt.Sprintf("%v is the primary key of %s: use another key first", f, strings.Join(by, ", ")))
		}
		if without := having(answers, func(r Report) bool { return !slices.Contains(r.Keys, f) }); len(without) == len(answers) {
			return sharelock.Invalid("key", fmt.Sprintf("%v is not installed on any member", f))
		}
	}
	return nil
}

// having returns the names of the members whose reports satisfy like.
func having(answers []answer, like func(Report) bool) (names []string) {
	for _, a := range answers {
		if like(a.report) {
			names = append(names, a.member.Name)
		}
	}
	return names
}

// step makes all members carry out a request, including those that join in the meantime.
func (m *Mesh) step(ctx context.Context, r Request) error {
	done := map[ring.Identity]bool{}
	for {
		of, err := m.cfg.Members()
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(slices.Clone(of.Members), func(m ring.Member) bool { return done[m.Identity] })
		if len(missing) == 0 {
			m.cfg.Log.Info("changed the gossip keys of all members", "step", r.Action, "key", r.name(), "members", len(of.Members))
			return nil
		}
		answers := m.ask(ctx, missing, r)
		if err := failure(r.Action.String()+" "+r.name().String(), answers); err != nil {
			return err
		}
		for _, a := range answers {
			done[a.member.Identity] = true
		}
	}
}

// removeOthers removes all keys but one.
func (m *Mesh) removeOthers(ctx context.Context, keep Fingerprint) error {
	of, err := m.cfg.Members()
	if err != nil {
		return err
	}
	answers := m.ask(ctx, of.Members, Request{})
	if err := failure("remove the old keys", answers); err != nil {
		return err
	}
	var old []Fingerprint
	for _, a := range answers {
		for _, f := range a.report.Keys {
			if f != keep && !slices.Contains(old, f) {
				old = append(old, f)
			}
		}
	}
	for _, f := range old {
		if err := m.step(ctx, Request{Action: Remove, Fingerprint: f}); err != nil {
			return err
		}
	}
	return nil
}

// failure returns ErrNotConfirmed if a member has failed.
func failure(what string, answers []answer) error {
	var failed []string
	for _, a := range answers {
		if a.err != nil {
			failed = append(failed, fmt.Sprintf("%s (%v)", a.member.Name, a.err))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return &sharelock.Error{Err: sharelock.ErrNotConfirmed, Message: fmt.Sprintf("%s: %d of %d members did not answer or refused: %s; it can be repeated",
		what, len(failed), len(answers), strings.Join(failed, ", "))}
}
