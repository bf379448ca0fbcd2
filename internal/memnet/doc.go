// Package memnet is a network in memory for tests of distributed programs:
// streams, datagrams, names and faults between named machines, in virtual or
// real time.
//
//	n := memnet.New(1)
//	l, err := n.Host("a").Listen(":7000")
//	c, err := n.Host("b").Dial(ctx, "a:7000")
//	n.Cut("a", "b") // what a sends waits
//	n.Heal()        // and arrives
//
// A [Host] fits the Network interface of package network. The package imports
// nothing of this module and does not import testing.
package memnet
