//go:build !release_next

package view

import (
	"context"

	"github.com/sgkandale/sharelock/internal/release"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// extra is what the next release adds to Raft's state. In this release it is empty, see
// extra_next.go.
type extra struct{}

// apply would apply a command of the next release, or remove a field of the next release from c.
func (e extra) apply(*peerv1.Command, release.Range) (next extra, done bool, err error) {
	return e, false, nil
}

func (extra) save(*peerv1.Snapshot) {}

func (*extra) restore(*peerv1.Snapshot) error { return nil }

// beforeProposal would append the commands that the next release makes before a proposal, and add
// its fields to c.
func (a *Raft) beforeProposal(context.Context, *peerv1.Command) error { return nil }
