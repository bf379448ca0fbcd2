// Package host runs nodes in this process: one node of a mesh ([Host.Serve]), or a whole mesh for
// trying things out ([Host.Dev]).
//
// A node itself uses no signals, terminals or environment. The host gives it what it needs of those: a
// logger whose level a signal changes, an audit log, traces, a garbage limit, and processors that stay
// awake. Then it waits. One function, supervise, decides what ends a node: the node itself, a first
// signal (leave in good order, within a bounded time), or a second one (end at once).
package host
