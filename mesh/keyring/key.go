package keyring

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// KeySize is the length of a key in bytes: AES-256.
const KeySize = 32

// Key is a gossip key. It is always printed as its fingerprint.
type Key [KeySize]byte

// Fingerprint names a key without revealing it.
type Fingerprint [8]byte

var (
	_ fmt.Formatter  = Key{}
	_ slog.LogValuer = Key{}
)

// Generate returns a new random key.
func Generate() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never fails
	return k
}

// errNotKey is returned for a text that is not a key. It does not contain the text, which may be a
// mistyped key.
var errNotKey = errors.New("not a gossip key")

// ParseKey reads a key in base64.
func ParseKey(text string) (Key, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return Key{}, fmt.Errorf("%w: want %d bytes in base64, as 'sharelock keyring generate' prints them", errNotKey, KeySize)
	}
	if len(b) != KeySize {
		return Key{}, fmt.Errorf("%w: it has %d bytes, want %d (AES-256)", errNotKey, len(b), KeySize)
	}
	return Key(b), nil
}

// Text returns the key itself in base64.
func (k Key) Text() string { return base64.StdEncoding.EncodeToString(k[:]) }

// Fingerprint returns the beginning of a hash of the key.
func (k Key) Fingerprint() Fingerprint {
	sum := sha256.Sum256(append([]byte("sharelock gossip key\n"), k[:]...))
	return Fingerprint(sum[:len(Fingerprint{})])
}

// String returns the fingerprint, not the key.
func (k Key) String() string { return k.Fingerprint().String() }

// Format implements fmt.Formatter: with every verb it writes the fingerprint.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue implements slog.LogValuer.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText returns the fingerprint, so that no message or JSON contains the key.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// String returns the fingerprint as sixteen hexadecimal digits.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// MarshalText returns the same text.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// ParseFingerprint reads a fingerprint. If text is a key, it returns the key's fingerprint: a
// command may name a key by either.
func ParseFingerprint(text string) (Fingerprint, error) {
	if b, err := hex.DecodeString(strings.ToLower(text)); err == nil && len(b) == len(Fingerprint{}) {
		return Fingerprint(b), nil
	}
	k, err := ParseKey(text)
	if err != nil {
		return Fingerprint{}, fmt.Errorf("%w; or a fingerprint of %d hexadecimal digits", err, 2*len(Fingerprint{}))
	}
	return k.Fingerprint(), nil
}
