package gossip

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/rules"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// clusterIDRoom is what a cluster id of the longest kind takes in a Meta.
const clusterIDRoom = 2 + rules.MaxClusterID

// errMetaTooLarge: what a process says of itself does not fit into gossip.
var errMetaTooLarge = errors.New("name, cluster name and addresses together are too long for gossip")

// label keeps meshes of different names apart on the wire, whatever the
// length of the name.
func label(cluster string) string {
	sum := sha256.Sum256([]byte(cluster))
	return "sharelock-1-" + hex.EncodeToString(sum[:16])
}

// Fitting returns the newest of some cluster ids that a Meta without them has room for.
func Fitting(meta *peerv1.Meta, ids [][]byte) [][]byte {
	room := memberlist.MetaMaxSize - proto.Size(meta)
	for i, id := range slices.Backward(ids) {
		if room -= 2 + len(id); room < 0 {
			return ids[i+1:]
		}
	}
	return ids
}

// FittingKeys returns the first of some fingerprints that a Meta without them has room for, with room
// for a cluster id besides.
func FittingKeys(meta *peerv1.Meta, keys [][]byte) [][]byte {
	room := memberlist.MetaMaxSize - clusterIDRoom - proto.Size(meta)
	for i, k := range keys {
		if room -= 2 + len(k); room < 0 {
			return keys[:i]
		}
	}
	return keys
}

// checkMeta says whether a Meta fits, with room for what may be added later.
func checkMeta(meta *peerv1.Meta, room int) error {
	if len(meta.GetClusterId()) > 0 {
		room = 0
	}
	if size := proto.Size(meta) + room; size > memberlist.MetaMaxSize {
		return fmt.Errorf("%w: node name %d bytes, cluster name %d, addresses %d, the maximum for all is %d",
			errMetaTooLarge, len(meta.GetName()), len(meta.GetCluster()),
			len(meta.GetPeer())+len(meta.GetHttp())+len(meta.GetGrpc()), memberlist.MetaMaxSize-(size-proto.Size(meta)))
	}
	return nil
}
