// Package sharelockpb is the API of the first ShareLock, generated from
// sharelock.proto and kept byte for byte, so that its clients go on working.
// New clients use sharelock.v1.
package sharelockpb
