package ring

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/buraksezer/consistent"
)

// The reasons for which [Build] refuses a view; match them with errors.Is.
var (
	// ErrPlacement: this release does not know the placement rule of the view.
	ErrPlacement = errors.New("ring: unknown placement")
	// ErrView: the view or the number of partitions is invalid.
	ErrView = errors.New("ring: bad view")
)

const (
	// MaxPartitions is the maximum number of partitions of a cluster.
	MaxPartitions = 1 << 16
	// MaxMembers is the maximum number of members of a view.
	MaxMembers = 1 << 8
	// maxNested is the maximum number of members with which every backup is the owner in a ring
	// without the members before it. In larger rings this holds for the first backup only,
	// because the number of such rings grows with the square of the members.
	maxNested = 16
)

// Ring is the placement of the partitions in one view. It is immutable and safe for concurrent use.
// The slices that its methods return are shared and must not be modified. [Build] makes a Ring; the
// zero value is not usable.
//
// A view without members, or with leaving members only, has an empty ring: its partitions have no
// owner. In such a view no partition can ever have been active.
type Ring struct {
	view       View
	partitions uint32
	replicas   int
	// table holds the replica sets one after the other, owner first, as indices of
	// view.Members.
	table []int32
	// sets holds the replica sets as members. Partitions with equal replica sets share one
	// slice.
	sets [][]Member
}

// Build computes the ring of a view. It is a pure function of the members' ids, which of them are
// leaving, view.Replicas, and partitions. The order of the members has no influence.
//
// Build fails with [ErrPlacement] or [ErrView], never because of the size of a valid mesh. It takes
// milliseconds (see the benchmarks), so call it once per view.
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

// membersOnRing returns the indices of the members that are not leaving (V7), sorted by id.
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

// shareSets makes the replica sets as members, with one slice for each distinct set.
func (r *Ring) shareSets() [][]Member {
	// Sorting the partitions by their sets makes equal sets adjacent.
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

// indices returns the replica set of p as indices of view.Members.
func (r *Ring) indices(p uint32) []int32 {
	i := int(p) * r.replicas
	return r.table[i : i+r.replicas]
}

// View returns the view from which the ring was built.
func (r *Ring) View() View { return r.view }

// Epoch returns the epoch of the view.
func (r *Ring) Epoch() uint32 { return r.view.Epoch }

// Partitions returns the number of partitions, P.
func (r *Ring) Partitions() uint32 { return r.partitions }

// Partition returns the partition of a key, which is below Partitions. It does not allocate.
func (r *Ring) Partition(key string) uint32 { return PartitionOf(key, r.partitions) }

// Owner returns the owner of a partition. It reports false if the ring is empty or p is not a
// partition. It does not allocate.
func (r *Ring) Owner(p uint32) (Member, bool) {
	set := r.Replicas(p)
	if len(set) == 0 {
		return Member{}, false
	}
	return set[0], true
}

// Replicas returns the replica set of a partition, S(p,e): the owner, then the backups. It has
// view.Replicas members, or all members on the ring if these are fewer. It is empty if the ring is
// empty or p is not a partition. It does not allocate.
func (r *Ring) Replicas(p uint32) []Member {
	if int64(p) >= int64(len(r.sets)) {
		return nil
	}
	return r.sets[p]
}

// Position returns the index of a member in the replica set of a partition: 0 for the owner, a
// higher index for a backup, -1 for neither. A different incarnation is a different member.
func (r *Ring) Position(p uint32, id Identity) int {
	return slices.IndexFunc(r.Replicas(p), func(m Member) bool { return m.Identity == id })
}

// Owned returns the partitions that a member owns, in ascending order.
func (r *Ring) Owned(id Identity) []uint32 {
	return r.find(id, func(set []int32, m int32) bool { return set[0] == m })
}

// Backed returns the partitions of which a member is a backup, in ascending order.
func (r *Ring) Backed(id Identity) []uint32 {
	return r.find(id, func(set []int32, m int32) bool { return slices.Contains(set[1:], m) })
}

// find returns the partitions whose replica set matches for the member.
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

// libraryOwners returns the library's owner of each partition, as an index of ids.
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

// placedMember is a member in the library's form. The library knows it by its stable id.
type placedMember struct {
	id    string
	index int32
}

func (m placedMember) String() string { return m.id }
