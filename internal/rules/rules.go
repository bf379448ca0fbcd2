// Package rules defines bounds that several packages must agree on.
package rules

// MaxClusterID bounds the id of a cluster, in bytes.
const MaxClusterID = 64
