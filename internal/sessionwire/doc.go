// Package sessionwire encodes and decodes the messages of sessions without generated code: a message
// is a batch of calls or answers, and most of what the hot path does with it is to read it once. The
// encoding is that of SessionRequest and SessionResponse in proto/sharelock/v1, which tests compare.
//
// It also has the hello of plain sessions, which are the same messages on a stream of their own.
package sessionwire
