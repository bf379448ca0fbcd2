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
}

// Stall is a member for which the node has waited without progress.
type Stall struct {
	Member  string
	Waiting time.Duration
}

// Seat is the seat of a voter. Absent reports whether its holder is not in the view.
type Seat struct {
	Name, ID string
	Absent   bool
}

// Member is one member of the view.
type Member struct {
	Name, ID, Incarnation string
	Voter, Leaving        bool
	Owns, Backs           int
	HTTP, GRPC, Peer      string
	Release               uint32
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
