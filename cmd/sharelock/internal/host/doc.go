// Package host runs nodes in this process: one of a mesh ([Host.Serve]), or a whole mesh for trying
// things out ([Host.Dev]).
//
// A node itself knows nothing of signals, terminals or the environment. The host gives it what it
// needs of those: a logger whose level a signal changes, an audit log, traces, the limit of garbage,
// and processors that stay awake. Then it waits. What ends a node is decided in one place, supervise:
// the node itself, a first signal (leave in good order, for a bounded time), or a second one (end at
// once).
package host
