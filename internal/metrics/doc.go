// Package metrics counts what happens on paths where a call of a metrics library would cost too
// much: histograms that are plain arrays, and calls in batches.
//
// Nothing here locks for each observation or allocates for it. A [Histogram] belongs to one
// goroutine, or to whatever guards its owner, and is copied when somebody asks for its numbers.
// [Calls] are shared, and are fed in batches.
package metrics
