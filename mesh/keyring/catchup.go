package keyring

import (
	"context"
	"slices"

	"github.com/sgkandale/sharelock/ring"
)

// CatchUp adopts the keys of another member once this process is in a view: they may have been
// changed while this process was away, or while it joined. It returns when that is done, or ctx
// ends.
func (m *Mesh) CatchUp(ctx context.Context) {
	if m.cfg.Own.FromFile() || m.cfg.Own.Mode() == Off {
		return
	}
	for {
		changed := m.cfg.Changed()
		if of, err := m.cfg.Members(); err == nil && m.takeOver(ctx, of.Members) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// takeOver asks members for their keys until one has answered, and adopts its keys. It reports
// whether that is done.
func (m *Mesh) takeOver(ctx context.Context, members []ring.Member) (done bool) {
	self := func(o ring.Member) bool { return o.Identity == m.cfg.Self }
	if !slices.ContainsFunc(members, self) {
		return false
	}
	others := slices.DeleteFunc(slices.Clone(members), self)
	for _, other := range others {
		a := m.ask(ctx, []ring.Member{other}, Request{WithKeys: true})[0]
		// Keys that a member has from a file are not adopted; they may be in another order.
		if a.err == nil && !a.report.FromFile {
			a.err = m.cfg.Own.Adopt(a.report.Ring)
		}
		if a.err == nil {
			return true
		}
		m.cfg.Log.Debug("gossip keys of another member", "member", other.Name, "error", a.err)
	}
	return len(others) == 0
}
