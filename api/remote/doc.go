// Package remote tells where a call comes from: the connection over which it arrived, and the
// address at its other end. The context of a call carries it, because it matters to the handlers of
// all APIs and to the node behind them, which counts by host.
package remote
