package cluster_test

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
)

func TestThreeNodesTLS(t *testing.T) {
	threeNodes(t, cluster.Options{Timing: time.Second, TLS: true})
}

func TestSimThreeNodesTLS(t *testing.T) {
	virtual.Test(t, func(t *testing.T) { threeNodes(t, cluster.Options{Net: cluster.Memory, TLS: true}) })
}
