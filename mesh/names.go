package mesh

import "github.com/sgkandale/sharelock/internal/rules"

// maxClusterID bounds the id of a cluster, in bytes.
const maxClusterID = rules.MaxClusterID
