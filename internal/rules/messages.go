package rules

// MaxPeerMessage bounds what a member accepts from another in one message, in bytes: in a frame of
// a link, and in a call of the peer protocol.
const MaxPeerMessage = 16 << 20
