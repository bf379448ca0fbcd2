package ring

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/buraksezer/consistent"
)

// The reasons why [Build] refuses a view; match them with errors.Is.
var (
	// ErrPlacement: the view was made for a rule that this release does not know.
	ErrPlacement = errors.New("ring: unknown placement")
	// ErrView: no ring can be made of the view or the number of partitions.
	ErrView = errors.New("ring: bad view")
)

const (
	// MaxPartitions is the most partitions of a cluster.
	MaxPartitions = 1 << 16
	// MaxMembers is the most members of a view.
	MaxMembers = 1 << 8
	// maxNested is the largest ring in which every backup is the owner of a ring
	// without those before it. In larger ones that holds for the first backup;
	// the number of rings to ask would grow with the square of the members.
	maxNested = 16
)

// Ring says where each partition of one view lives. It is immutable and safe
// for concurrent use; what its methods return is shared and must not be
// changed. Only [Build] makes one: the zero value is of no use.
//
// A view without members, or with leaving members only, makes an empty ring:
// it has partitions, but nobody owns them. In such a view no partition can ever
// have been active.
type Ring struct {
	view       View
	partitions uint32
	replicas   int
	// table holds the replica sets one after the other, owner first, as indices
	// of view.Members.
	table []int32
	// sets holds the same as members. Partitions with equal replica sets share
	// one slice.
	sets [][]Member
}

// Build computes the ring of a view. It is a pure function of the members' ids,
// which of them are leaving, view.Replicas, and partitions; whoever has the same
// view gets the same ring, whatever the order of the members.
//
// It fails with [ErrPlacement] or [ErrView], never because of the size of a
// valid mesh. It costs milliseconds, see the benchmarks: build once per view.
func Build(v View, partitions int) (*Ring, error) {
	if v.Placement != Placement {
		return nil, fmt.Errorf("%w: view %d wants rule %d, this release knows %d",
			ErrPlacement, v.Epoch, v.Placement, Placement)
	}
	if partitions < 1 || partitions > MaxPartitions {
		return nil, fmt.Errorf("%w: %d partitions, want 1 to %d", ErrView, partitions, MaxPartitions)
	}
	placed, err := membersOnRing(v)
	if err != nil {
		return nil, fmt.Errorf("%w %d: %w", ErrView, v.Epoch, err)
	}
	r := &Ring{
		view:       v.Clone(),
		partitions: uint32(partitions),
		replicas:   min(v.Replicas, len(placed)),
	}
	if r.replicas == 0 {
		return r, nil
	}
	b := newBuilder(v, placed, partitions, r.replicas)
	r.table = b.table()
	r.sets = r.shareSets()
	return r, nil
}

// membersOnRing gives the indices of the members that are not leaving (V7), in
// the order of their ids.
func membersOnRing(v View) ([]int32, error) {
	if len(v.Members) > MaxMembers {
		return nil, fmt.Errorf("%d members, the most is %d", len(v.Members), MaxMembers)
	}
	seen := make(map[string]bool, len(v.Members))
	placed := make([]int32, 0, len(v.Members))
	for i, m := range v.Members {
		switch {
		case m.ID == "":
			return nil, fmt.Errorf("member %q has no id", m.Name)
		case seen[m.ID]:
			return nil, fmt.Errorf("two members have the id %q", m.ID)
		}
		seen[m.ID] = true
		if !m.Leaving {
			placed = append(placed, int32(i))
		}
	}
	if v.Replicas < 0 || v.Replicas == 0 && len(placed) > 0 {
		return nil, fmt.Errorf("%d replicas", v.Replicas)
	}
	slices.SortFunc(placed, func(a, b int32) int {
		return cmp.Compare(v.Members[a].ID, v.Members[b].ID)
	})
	return placed, nil
}

// shareSets makes the replica sets as members, one slice for each that occurs.
func (r *Ring) shareSets() [][]Member {
	// Sorting the partitions by their sets brings equal sets together.
	order := make([]uint32, r.partitions)
	for p := range order {
		order[p] = uint32(p)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return slices.Compare(r.indices(a), r.indices(b))
	})
	sets := make([][]Member, r.partitions)
	for i, p := range order {
		if i > 0 && slices.Equal(r.indices(p), r.indices(order[i-1])) {
			sets[p] = sets[order[i-1]]
			continue
		}
		set := make([]Member, r.replicas)
		for j, m := range r.indices(p) {
			set[j] = r.view.Members[m]
		}
		sets[p] = set
	}
	return sets
}

// indices is the replica set of p as indices of view.Members.
func (r *Ring) indices(p uint32) []int32 {
	i := int(p) * r.replicas
	return r.table[i : i+r.replicas]
}

// View is the view that the ring was built from.
func (r *Ring) View() View { return r.view }

// Epoch is the epoch of the view.
func (r *Ring) Epoch() uint32 { return r.view.Epoch }

// Partitions is the number of partitions, P.
func (r *Ring) Partitions() uint32 { return r.partitions }

// Partition gives the partition of a key, below Partitions. It does not
// allocate.
func (r *Ring) Partition(key string) uint32 { return PartitionOf(key, r.partitions) }

// Owner gives the owner of a partition. It is false if the ring is empty, and
// for numbers that are not a partition's. It does not allocate.
func (r *Ring) Owner(p uint32) (Member, bool) {
	set := r.Replicas(p)
	if len(set) == 0 {
		return Member{}, false
	}
	return set[0], true
}

// Replicas gives the replica set of a partition, S(p,e): the owner, then the
// backups. It has view.Replicas members, or all members on the ring if these
// are fewer; none if the ring is empty, or p is not a partition's number. It
// does not allocate.
func (r *Ring) Replicas(p uint32) []Member {
	if p >= uint32(len(r.sets)) {
		return nil
	}
	return r.sets[p]
}

// Position says where a member stands in the replica set of a partition: 0 is
// the owner, more a backup, -1 neither. Another incarnation is another member.
func (r *Ring) Position(p uint32, id Identity) int {
	return slices.IndexFunc(r.Replicas(p), func(m Member) bool { return m.Identity == id })
}

// Owned gives the partitions that a member owns, in order.
func (r *Ring) Owned(id Identity) []uint32 {
	return r.find(id, func(set []int32, m int32) bool { return set[0] == m })
}

// Backed gives the partitions that a member is a backup of, in order.
func (r *Ring) Backed(id Identity) []uint32 {
	return r.find(id, func(set []int32, m int32) bool { return slices.Contains(set[1:], m) })
}

// find gives the partitions whose replica set matches for the member.
func (r *Ring) find(id Identity, match func(set []int32, m int32) bool) []uint32 {
	m := slices.IndexFunc(r.view.Members, func(m Member) bool { return m.Identity == id })
	if m < 0 || r.replicas == 0 {
		return nil
	}
	var found []uint32
	for p := range r.partitions {
		if match(r.indices(p), int32(m)) {
			found = append(found, p)
		}
	}
	return found
}

// libraryOwners asks the library for the owner of each partition, as an index
// of ids.
func libraryOwners(ids []string, partitions int) []int32 {
	members := make([]consistent.Member, len(ids))
	for i, id := range ids {
		members[i] = placedMember{id: id, index: int32(i)}
	}
	c := consistent.New(members, consistent.Config{
		Hasher:            hasher{},
		PartitionCount:    partitions,
		ReplicationFactor: pointsPerMember,
		Load:              maxLoad,
	})
	owners := make([]int32, partitions)
	for p := range owners {
		owners[p] = c.GetPartitionOwner(p).(placedMember).index
	}
	return owners
}

// placedMember is a member as the library knows it: by its stable id.
type placedMember struct {
	id    string
	index int32
}

func (m placedMember) String() string { return m.id }
