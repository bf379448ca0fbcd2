// Package nodetls is the TLS of a node.
//
// A node has one certificate. Its key, the certificate and the bundle of authorities that it
// trusts are a [Set]. A [Store] loads a set as a whole, keeps it up to date, and replaces it only by
// a set that fits together. What is made from a set is immutable: every handshake uses the set that
// is current when it begins.
//
// A [Server] does the handshakes of the streams that a port accepts, and a [Dialer] those of the streams
// to other members. Members know each other by one DNS name, see [certs.MemberName], which
// both sides require. Server and Dialer record the streams whose peer has presented a certificate, and
// close them when the bundle no longer contains the authority of that certificate.
package nodetls
