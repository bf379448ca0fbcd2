//go:build race

package cluster_test

// slower is how many times a test costs more under the race detector, about.
const slower = 10
