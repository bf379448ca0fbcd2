// Package sharelockpb is the API of the original ShareLock, generated from sharelock.proto. It is
// kept byte for byte so that existing clients continue to work. New clients use sharelock.v1.
package sharelockpb
