package ring

import (
	"fmt"
	"slices"
	"strings"
)

// Placement is the version of the placement rule: hash, key encoding, virtual nodes, load and the
// choice of replica sets. A view carries its version, so that two releases never place one view
// differently.
const Placement = 1

// Identity identifies a member, which is one running process: by its id (from the data directory)
// and its incarnation (Counter, incremented at every start, and Nonce, a random number). "The same
// member" always means an equal Identity. The zero value is not a member.
type Identity struct {
	ID      string
	Counter uint64
	Nonce   uint64
}

// Incarnation returns the incarnation as text.
func (i Identity) Incarnation() string { return fmt.Sprintf("%d-%016x", i.Counter, i.Nonce) }

// String returns the id and the incarnation as text.
func (i Identity) String() string { return i.ID + "." + i.Incarnation() }

// Member is a process listed in a view.
type Member struct {
	Identity
	// Name is the display name of the node.
	Name string
	// Peer, Gossip, HTTP and GRPC are its addresses.
	Peer, Gossip, HTTP, GRPC string
	// Leaving members are off the ring, but are still asked for their copies (V7).
	Leaving bool
	// Release is the release of the member's program. Hold is the release at which its operator
	// holds the view, or 0 (W1).
	Release, Hold uint32
	// Evicted is set for a leaving member that did not ask to leave (V6a).
	Evicted bool
}

// View is the agreed membership. A View must not be modified after it was passed on.
type View struct {
	// Epoch is the view's number, below 2^31; 0 means no view.
	Epoch uint32
	// Replicas is R, the length of a replica set.
	Replicas int
	// Placement is the version of the view's placement rule.
	Placement int
	// Release is the release of the view (W1). It never falls.
	Release uint32
	// Members are in the order in which they joined.
	Members []Member
}

// Supports reports whether the additions of a release may be used in this view (W1).
func (v View) Supports(release uint32) bool { return v.Release >= release }

// Find returns the member with this identity.
func (v View) Find(id Identity) (Member, bool) {
	for _, m := range v.Members {
		if m.Identity == id {
			return m, true
		}
	}
	return Member{}, false
}

// FindID returns the member with this id, with any incarnation.
func (v View) FindID(id string) (Member, bool) {
	for _, m := range v.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Clone returns a copy that shares no memory with v.
func (v View) Clone() View {
	v.Members = slices.Clone(v.Members)
	return v
}

// String returns a one-line description.
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

// History is the last views of a cluster, oldest first. It is sent with every view, because a
// member that owns a partition in its first view must know the earlier views (step 2 of an
// activation).
type History struct {
	Views []View
	// First is the epoch of the cluster's first view. If Views begins with it, the history is
	// complete.
	First uint32
}

// MaxHistory is the number of views that are kept.
const MaxHistory = 100

// Current returns the newest view, or the zero View.
func (h History) Current() View {
	if len(h.Views) == 0 {
		return View{}
	}
	return h.Views[len(h.Views)-1]
}

// Append returns a history with a newer view, without the oldest views beyond [MaxHistory]. It does
// not modify h.
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

// Between returns the views with after < epoch < before. It reports whether the history is long
// enough to contain all of them: it reaches back to epoch after, or to the first view of the
// cluster.
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
