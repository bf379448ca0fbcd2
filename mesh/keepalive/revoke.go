package keepalive

// Revoke detaches the holds whose keys allowed refuses, and tells the client the error.
func (s *Session) Revoke(allowed func(key string) error) {
	type refusal struct {
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
	var refused []refusal
	for _, k := range all {
		if err := allowed(k.Key); err != nil {
			refused = append(refused, refusal{k, err})
		}
	}
	var ended []endedHold
	r.mu.Lock()
	for _, f := range refused {
		if s.holds[f.hold.id] == f.hold {
			ended = append(ended, endedHold{f.hold.id, f.err})
			r.detach(s, f.hold.id)
		}
	}
	r.mu.Unlock()
	for _, e := range ended {
		s.to.Ended(e.id, e.err)
	}
}
