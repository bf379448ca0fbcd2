//go:build race

package testcluster_test

// slower is by how much the race detector makes crowds smaller.
const slower = 10
