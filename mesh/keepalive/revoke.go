package keepalive

// Revoke detaches the holds whose keys allowed refuses, and tells the client the error. allowed must
// not block.
func (s *Session) Revoke(allowed func(key string) error) {
	r := s.keeper
	var refused []endedHold
	r.mu.Lock()
	for id, k := range s.holds {
		if err := allowed(k.Key); err != nil {
			refused = append(refused, endedHold{id, err})
			r.detach(s, id)
		}
	}
	r.mu.Unlock()
	for _, e := range refused {
		s.to.Ended(e.id, e.err)
	}
}
