package gossip

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"

	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/mesh/keyring"
)

// The form of what memberlist encrypts, version 1 (AES-GCM without padding):
//
//	packet: label header, version, nonce, ciphertext and tag
//	stream: label header, streamSealed, length (4 bytes), version, nonce, ciphertext and tag
//
// The label is authenticated, and in a stream what precedes the version, too.
const (
	sealVersion  = 1
	streamSealed = 10
	labelHeader  = 244
	nonceSize    = 12
	tagSize      = 16
)

// maxReaders is how many addresses a sealer remembers.
const maxReaders = 4096

// sealer encrypts what a process that migrates sends to those that can read it. The others get
// it as it is.
type sealer struct {
	// header is what each packet and stream begins with; it contains the label.
	header []byte
	label  string
	ring   *memberlist.Keyring

	mu sync.Mutex
	// known is what is known of the processes at addresses, also of those that are away;
	// guarded by mu.
	known map[string]reader
}

// reader is what a process can read.
type reader struct {
	keys []keyring.Fingerprint
	// assumed: it is not known which keys it has, but it is tried whether it has ours.
	assumed bool
}

func newSealer(label string, ring *memberlist.Keyring) *sealer {
	header := append([]byte{labelHeader, intconv.Uint8(len(label))}, label...)
	return &sealer{header: header, label: label, ring: ring, known: make(map[string]reader)}
}

// learn notes which keys the process at an address says it has. A nil sealer ignores it.
func (s *sealer) learn(addr string, keys [][]byte) {
	if s == nil {
		return
	}
	var r reader
	for _, k := range keys {
		if len(k) == len(keyring.Fingerprint{}) {
			r.keys = append(r.keys, keyring.Fingerprint(k))
		}
	}
	s.note(addr, r)
}

// assume makes the next stream to an address encrypted, or not, to find out what is understood
// there.
func (s *sealer) assume(addr string, reads bool) { s.note(addr, reader{assumed: reads}) }

func (s *sealer) note(addr string, r reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxReaders {
		clear(s.known) // it is learned again, and joins find it out
	}
	s.known[addr] = r
}

// reads reports whether what is sent to an address is to be encrypted.
func (s *sealer) reads(addr string) bool {
	primary, ok := s.primary()
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.known[addr]
	return r.assumed || slices.Contains(r.keys, primary.Fingerprint())
}

// primary returns the key to encrypt with; ok is false if there is none yet.
func (s *sealer) primary() (k keyring.Key, ok bool) {
	b := s.ring.GetPrimaryKey()
	if len(b) != keyring.KeySize {
		return k, false
	}
	return keyring.Key(b), true
}

// packet returns a packet encrypted, or as it is if it does not begin with the label.
func (s *sealer) packet(b []byte) []byte {
	k, ok := s.primary()
	if !ok || !s.labelled(b) {
		return b
	}
	n := len(s.header)
	out := make([]byte, n, len(b)+sealedOverhead)
	copy(out, b)
	return s.seal(out, k, b[n:], []byte(s.label))
}

// labelled reports whether b begins with the label.
func (s *sealer) labelled(b []byte) bool {
	return len(b) >= len(s.header) && string(b[:len(s.header)]) == string(s.header)
}

// stream returns a message of a stream encrypted.
func (s *sealer) stream(b []byte) []byte {
	k, ok := s.primary()
	if !ok {
		return b
	}
	out := make([]byte, 0, 5+len(b)+sealedOverhead)
	out = append(out, streamSealed)
	out = binary.BigEndian.AppendUint32(out, intconv.Uint32(len(b)+sealedOverhead))
	return s.seal(out, k, b, append(slices.Clone(out), s.label...))
}

// seal appends an encrypted message.
func (s *sealer) seal(out []byte, k keyring.Key, message, authenticated []byte) []byte {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err) // the key has the right size
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the right block size
	}
	out = append(out, sealVersion)
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:]) // never fails
	out = append(out, nonce[:]...)
	return gcm.Seal(out, nonce[:], message, authenticated)
}
