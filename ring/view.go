package ring

import (
	"fmt"
	"slices"
	"strings"
)

// Placement is the version of the placement rule: hash, key encoding, virtual
// nodes, load and the choice of replica sets. A view carries the version it was
// made for, so that two releases never place one view differently.
const Placement = 1

// Identity is a member: one running process, told from every other by its id
// (from the data directory) and its incarnation, the counter raised at every
// start plus a random number. "The same member" is always the same Identity.
// The zero value is no member.
type Identity struct {
	ID      string
	Counter uint64
	Nonce   uint64
}

// Incarnation is the printed form of the identity without the id.
func (i Identity) Incarnation() string { return fmt.Sprintf("%d-%016x", i.Counter, i.Nonce) }

// String is id and incarnation.
func (i Identity) String() string { return i.ID + "." + i.Incarnation() }

// Member is a process listed in a view.
type Member struct {
	Identity
	// Name is how people see the node.
	Name string
	// Peer, Gossip, HTTP and GRPC are its addresses.
	Peer, Gossip, HTTP, GRPC string
	// Leaving members are off the ring, and still asked for what they hold (V7).
	Leaving bool
	// Release is the release of its program, and Hold the release at which its operator
	// holds the view; 0 holds nothing (W1).
	Release, Hold uint32
	// Evicted is set for a leaving member that did not ask to leave (V6a).
	Evicted bool
}

// View is the agreed membership. Views are values: nobody changes one that was
// handed on.
type View struct {
	// Epoch is the view's number; 0 is no view. It is below 2^31.
	Epoch uint32
	// Replicas is R, the length of a replica set.
	Replicas int
	// Placement is the rule that this view is placed by.
	Placement int
	// Release is what all members and all seats understand (W1). It never falls.
	Release uint32
	// Members in the order in which they joined.
	Members []Member
}

// Supports reports whether what a release has added may be used in this view (W1).
func (v View) Supports(release uint32) bool { return v.Release >= release }

// Find gives the member with this identity.
func (v View) Find(id Identity) (Member, bool) {
	for _, m := range v.Members {
		if m.Identity == id {
			return m, true
		}
	}
	return Member{}, false
}

// FindID gives the member with this id, whatever its incarnation.
func (v View) FindID(id string) (Member, bool) {
	for _, m := range v.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Clone is a copy that shares nothing with v.
func (v View) Clone() View {
	v.Members = slices.Clone(v.Members)
	return v
}

// String is one line for people.
func (v View) String() string {
	names := make([]string, len(v.Members))
	for i, m := range v.Members {
		names[i] = m.Name
		if m.Leaving {
			names[i] += "(leaving)"
		}
	}
	return fmt.Sprintf("view %d R=%d [%s]", v.Epoch, v.Replicas, strings.Join(names, " "))
}

// History is the last views of a cluster, oldest first. It travels with every
// view, since a member that owns a partition in its first view must know the
// views before (section 4.2).
type History struct {
	Views []View
	// First is the epoch of the cluster's first view. When Views begins with
	// it, the history is complete.
	First uint32
}

// MaxHistory is how many views are kept.
const MaxHistory = 100

// Current is the newest view, or the zero View.
func (h History) Current() View {
	if len(h.Views) == 0 {
		return View{}
	}
	return h.Views[len(h.Views)-1]
}

// Append adds a newer view and forgets the oldest beyond [MaxHistory]. It does
// not change h.
func (h History) Append(v View) History {
	views := append(slices.Clone(h.Views), v)
	if n := len(views) - MaxHistory; n > 0 {
		views = slices.Clone(views[n:])
	}
	if h.First == 0 {
		h.First = v.Epoch
	}
	h.Views = views
	return h
}

// Between gives the views with after < epoch < before, and whether the history
// reaches back far enough to know all of them: to epoch after, or to the first
// view of the cluster.
func (h History) Between(after, before uint32) (views []View, complete bool) {
	for _, v := range h.Views {
		if v.Epoch > after && v.Epoch < before {
			views = append(views, v)
		}
	}
	if len(h.Views) == 0 {
		return nil, false
	}
	oldest := h.Views[0].Epoch
	return views, oldest <= after || oldest == h.First
}
