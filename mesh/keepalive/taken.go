package keepalive

import "github.com/sgkandale/sharelock"

// Taken lets go of all attachments of a hold that was taken away by force, and returns the sinks of
// their sessions. Those hear of the end when the loop runs next, see Wake.
func (r *Keeper) Taken(partition uint32, h sharelock.Hold, reason string) (of []Sink) {
	now := r.cfg.Clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	err := &sharelock.Error{Err: sharelock.ErrStaleToken, Message: "it was taken by force"}
	if reason != "" {
		err.Message += ": " + reason
	}
	for _, k := range r.attachedTo(partition) {
		if k.Key == h.Key && k.Token == h.Token && !k.detached() {
			of = append(of, k.session.to)
			r.end(now, k, err)
		}
	}
	return of
}

// attachedTo lists the attached holds of a partition. It needs mu.
func (r *Keeper) attachedTo(partition uint32) (list []*kept) {
	for _, ws := range []*wheels{&r.fresh, &r.wheels} {
		for _, w := range ws {
			if w == nil {
				continue
			}
			for i := range w.buckets {
				if b := w.buckets[i].batches[partition]; b != nil {
					list = append(list, b.list...)
				}
			}
		}
	}
	for g := range r.flying {
		if g.holds[0].partition == partition {
			list = append(list, g.holds...)
		}
	}
	return list
}
