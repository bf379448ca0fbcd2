package sharelock

import "time"

// MeshState is one node's view of the mesh.
type MeshState struct {
	Cluster        string
	Node           string
	Epoch          uint32
	Leader         string
	LeaseValid     bool
	LeaseRemaining time.Duration
	Partitions     int
	Replicas       int
	Quarantined    int
	Active         int
	Release        uint32
	Members        []Member
	Stalls         []Stall
	// Seats are the voters, if the node knows them. Survives is how many more voters may fail
	// before no view can be agreed on.
	Seats    []Seat
	Survives int
	// DiskError is the reason why this node cannot write Raft's records; empty if it can.
	DiskError string
	// AuthHash names the content of the node's auth file; empty if it does not authenticate its
	// callers.
	AuthHash string
	// Conditions are what an operator should know now, the worst first; none if all is well.
	Conditions []Condition
	// CopiesMissing counts the partitions of the node of which copies are not there yet. SeatWaits
	// reports whether the seat of an absent voter waits for a member that could take it.
	CopiesMissing int
	SeatWaits     bool
	// AuditDropped is the number of lines that the node's audit log has lost since it started.
	AuditDropped uint64
}

// Condition is something about a node or its mesh that an operator should know.
type Condition struct {
	// Code is the kind, such as "no-quorum" or "voter-silent". Subject tells conditions of the
	// same kind apart: the id of a voter, the address of a seed, or empty.
	Code, Subject string
	// Severe reports whether calls fail because of it.
	Severe bool
	// Lasting is how long it has lasted.
	Lasting time.Duration
	// Message is a sentence that says what is wrong, for how long, what that means, and what to
	// do.
	Message string
}

// Stall is a member for which the node has waited without progress.
type Stall struct {
	Member  string
	Waiting time.Duration
}

// Seat is the seat of a voter. Absent reports whether its holder is not in the view, and Silent
// whether it does not answer the node. Peer is its address for other members, if it is known.
type Seat struct {
	Name, ID       string
	Absent, Silent bool
	Peer           string
}

// Member is one member of the view.
type Member struct {
	Name, ID, Incarnation string
	Voter, Leaving        bool
	Owns, Backs           int
	HTTP, GRPC, Peer      string
	Release               uint32
	// Silent reports whether the member does not answer the node.
	Silent bool
	// AuthHash names the content of the member's auth file, as the node knows it from gossip;
	// empty if the member does not authenticate its callers.
	AuthHash string
}

// Location describes the owner and the backups of a key.
type Location struct {
	Key       string
	Partition uint32
	Owner     string
	Backups   []string
	Epoch     uint32
}

// Activity is what one member does as an owner. Err is why it has not answered; then only Name is
// set besides.
type Activity struct {
	Name string
	Err  string
	// Holds and Waiters count those in the partitions that the member owns. LongestWait is how
	// long one of the waiters has been in a queue of the member at most.
	Holds, Waiters int
	LongestWait    time.Duration
	// Grants and Ends count the grants and the holds that have ended since the member started.
	Grants, Ends uint64
	// CopiesMissing counts the partitions of which the member should have a copy as a backup, and
	// has none that is current. Quarantined counts its partitions in quarantine.
	CopiesMissing, Quarantined int
	// Contended are keys that somebody waits for, the longest wait first.
	Contended []Contention
}

// Contention is how much a key is waited for. LongestWait is how long its first waiter has been in
// the queue of this owner.
type Contention struct {
	Key            string
	Holds, Waiters int
	LongestWait    time.Duration
}
