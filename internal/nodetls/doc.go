// Package nodetls is the TLS of a node.
//
// A node has one certificate. Its key, the certificate and the bundle of authorities that it
// trusts are a [Set], which a [Store] loads as a whole, keeps up to date, and replaces only by a
// set that fits together. What is made from a set is immutable: every handshake uses the set that
// is current when it begins.
//
// A [Server] makes TLS of the streams that come in on a port, and a [Dialer] of those that are
// opened to other members. Members know each other by one DNS name, see [certs.MemberName], which
// both sides ask for. Both keep the streams whose other end has shown a certificate, and close
// them when the bundle does not vouch for that certificate any more.
package nodetls
