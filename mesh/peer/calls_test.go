package peer

import (
	"testing"

	"github.com/sgkandale/sharelock/internal/release"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// W2: for the caller of a probe, an answer of a program without a common release is an error.
func TestProbeNeedsACommonRelease(t *testing.T) {
	for _, c := range []struct {
		oldest, newest uint32
		ok             bool
	}{
		{0, 0, false},
		{release.Oldest, release.Current, true},
		{release.Current, release.Current + 5, true},
		{release.Current + 1, release.Current + 5, false},
	} {
		if err := New(Config{Releases: release.Own()}).speaks(&peerv1.ProbeResponse{Release: c.newest, OldestRelease: c.oldest}); (err == nil) != c.ok {
			t.Errorf("releases %d to %d: %v", c.oldest, c.newest, err)
		}
	}
}
