package ring

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/buraksezer/consistent"
)

// P is the number of partitions of a cluster that was not told otherwise.
const P = 1024

var update = flag.Bool("update", false, "write the golden files instead of comparing")

// memberIDs makes n ids as data directories make them, the same for each seed.
func memberIDs(seed uint64, n int) []string {
	rnd := rand.New(rand.NewPCG(seed, 0))
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%016x", rnd.Uint64())
	}
	return ids
}

// viewOf makes a view of members with these ids.
func viewOf(replicas int, ids ...string) View {
	v := View{Epoch: 7, Replicas: replicas, Placement: Placement}
	for i, id := range ids {
		v.Members = append(v.Members, Member{
			Identity: Identity{ID: id, Counter: uint64(i + 1), Nonce: 99},
			Name:     fmt.Sprintf("node-%d", i),
			Peer:     fmt.Sprintf("10.0.0.%d:50053", i),
		})
	}
	return v
}

// failer is what *testing.T, *testing.B and *rapid.T have in common here.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func build(tb failer, v View, partitions int) *Ring {
	tb.Helper()
	r, err := Build(v, partitions)
	if err != nil {
		tb.Fatalf("Build(%v, %d): %v", v, partitions, err)
	}
	return r
}

// replicaIDs is the replica set of p as ids.
func replicaIDs(r *Ring, p uint32) []string {
	var ids []string
	for _, m := range r.Replicas(p) {
		ids = append(ids, m.ID)
	}
	return ids
}

// libraryRing is the library itself, on a ring of these members: the oracle.
func libraryRing(ids []string, partitions int) []string {
	members := make([]consistent.Member, len(ids))
	for i, id := range ids {
		members[i] = placedMember{id: id}
	}
	c := consistent.New(members, consistent.Config{
		Hasher: hasher{}, PartitionCount: partitions, ReplicationFactor: 100, Load: 1.25,
	})
	owners := make([]string, partitions)
	for p := range owners {
		owners[p] = c.GetPartitionOwner(p).String()
	}
	return owners
}

// golden compares with a file in testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs: members of the two releases would not agree where locks live.\n"+
			"If that is meant, raise ring.Placement, keep the old rule, and run with -update.\ngot:\n%s", path, got)
	}
}
