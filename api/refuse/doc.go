// Package refuse answers clients at a port that does not serve them, in the protocol that they
// speak: plain sessions, gRPC and HTTP. An operator who has mixed up two ports, or has forgotten
// TLS, then reads what is wrong instead of a broken connection.
//
// A client is recognised by the first bytes of its connection, which are read as late as possible:
// with the first Read of whoever serves the port. What is read of a client that is refused, and the
// time that it gets, are bounded.
package refuse
