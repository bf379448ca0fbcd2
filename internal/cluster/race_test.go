//go:build race

package cluster_test

// slower is roughly how much slower a test is under the race detector.
const slower = 10
