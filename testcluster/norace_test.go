//go:build !race

package testcluster_test

const slower = 1
