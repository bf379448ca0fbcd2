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
