// Package network is the network as a node sees it.
//
// All traffic of a node goes through a [Network]: [System], the operating system's, or a memory
// network in tests. The package also knows how the streams between members have to end (no
// message may live longer than 30 s, Q1: [LimitUnacked] and [ResetOnClose]), and under which
// addresses others reach a listener ([Advertise], [Resolve]).
package network
