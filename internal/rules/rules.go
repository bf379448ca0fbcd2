// Package rules is the one home of bounds that several packages have to agree on.
package rules

// MaxClusterID bounds the id of a cluster, in bytes.
const MaxClusterID = 64
