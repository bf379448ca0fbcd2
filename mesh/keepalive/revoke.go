package keepalive

// Revoke detaches the holds whose keys allowed refuses, and tells the client the error. Holds that were
// attached by a caller who might keep any hold are kept for the session's principal only, once anyHold is
// false: their owners refuse them if they are another principal's.
func (s *Session) Revoke(allowed func(key string) (anyHold bool, err error)) {
	type change struct {
		hold *kept
		err  error
	}
	r := s.keeper
	// The owners' answers need mu, too, and a session may have very many holds, so the rules are
	// asked without it.
	r.mu.Lock()
	all := make([]*kept, 0, len(s.holds))
	for _, k := range s.holds {
		all = append(all, k)
	}
	r.mu.Unlock()
	var changes []change
	for _, k := range all {
		if anyHold, err := allowed(k.Key); err != nil || !anyHold && k.Principal != s.principal {
			changes = append(changes, change{k, err})
		}
	}
	var ended []endedHold
	now := r.cfg.Clock()
	r.mu.Lock()
	wakes := r.rests
	for _, c := range changes {
		switch {
		case s.holds[c.hold.id] != c.hold: // detached meanwhile
		case c.err != nil:
			ended = append(ended, endedHold{c.hold.id, c.err})
			r.detach(s, c.hold.id)
		default:
			wakes = min(wakes, r.fresh.attached(now, s.own(c.hold)))
		}
	}
	early := wakes < r.rests
	r.mu.Unlock()
	for _, e := range ended {
		s.to.Ended(e.id, e.err)
	}
	if early {
		r.wake.Set()
	}
}

// own puts a hold in the place of one that was attached by a caller who might keep any hold: it is
// renewed as the session's principal. A renewal of the old one that is under way counts no more. It needs
// Keeper.mu.
func (s *Session) own(old *kept) *kept {
	k := &kept{Renewal: old.Renewal, session: s, id: old.id, asOf: old.asOf, partition: old.partition}
	k.Principal = s.principal
	s.holds[k.id] = k
	old.session = nil
	old.remove()
	return k
}
