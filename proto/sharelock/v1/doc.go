// Package sharelockv1 is ShareLock's public API, generated from lock.proto, and
// the two translations that its servers and clients share: between its messages
// and the words of package sharelock, and between errors, reasons, gRPC codes
// and HTTP statuses, which one table pairs.
//
// The messages and the meaning of their fields follow semantic versioning.
package sharelockv1
