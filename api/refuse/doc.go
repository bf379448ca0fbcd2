// Package refuse answers clients at a port that does not serve them, in the protocol that they
// speak: plain sessions, gRPC and HTTP. An operator who has mixed up two ports, or has forgotten
// TLS, then reads what is wrong instead of a broken connection.
//
// A client is recognised by the first bytes of its connection. They are read by the first Read of the
// server that serves the port, not before. Both the number of bytes that are read from a refused client
// and the time that it may take are bounded.
package refuse
