package owner

import (
	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/machine"
)

// The requests and answers are those of the lock machine. Other packages use these names, so
// that only this package knows the machine.
type (
	Request   = machine.Request
	Kind      = machine.Kind
	Renewal   = machine.Renewal
	Answer    = machine.Answer
	Unrenewed = machine.Unrenewed
	Outcome   = machine.Outcome
	Caller    = machine.Caller
	Gatherer  = machine.Gatherer
	Ref       = machine.Ref
	Bounds    = machine.Bounds
)

// What a request asks for.
const (
	Acquire   = machine.Acquire
	Renew     = machine.Renew
	Release   = machine.Release
	Force     = machine.Force
	Get       = machine.Get
	Check     = machine.Check
	Cancel    = machine.Cancel
	Detach    = machine.Detach
	RenewMany = machine.RenewMany
)

// What an answer means.
const (
	Done   = machine.Done
	Queued = machine.Queued
	Retry  = machine.Retry
	Failed = machine.Failed
)

// The most holds in one request to renew many, and the most bytes of their keys.
const (
	MaxRenewals     = machine.MaxRenewals
	MaxRenewalBytes = machine.MaxRenewalBytes
)

// DefaultBounds are those of a partition when Config sets no others.
var DefaultBounds = machine.DefaultBounds

// HoldBytes is about how many bytes a hold takes in a message.
func HoldBytes(h *sharelock.Hold) int { return machine.HoldBytes(h) }
