// Package sharelockv1 is ShareLock's public API, generated from lock.proto, with the conversions
// that servers and clients share: between its messages and the types of package sharelock, and
// between errors, reasons, gRPC codes and HTTP statuses, by one table.
//
// The messages and the meaning of their fields follow semantic versioning.
package sharelockv1
