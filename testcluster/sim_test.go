package testcluster_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/testcluster"
)

func TestSimThreeNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		c := testcluster.Start(t, testcluster.Options{Net: testcluster.Memory})
		t.Logf("ready after %v", time.Since(begin))
		ctx := limited(t)
		l, err := c.Client(0).Acquire(ctx, "k")
		must(t, err)
		must(t, l.Release(ctx))
	})
}
