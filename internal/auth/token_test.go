package auth

import (
	"crypto/sha256"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestToken(t *testing.T) {
	token, stored := NewToken()
	other, _ := NewToken()
	if len(token) != tokenLength || token == other || StoredToken(token) != stored {
		t.Errorf("%q, %q are %q", token, other, stored)
	}
	id, err := parseToken(token)
	if err != nil || !strings.HasPrefix(token, "slk_"+id+"_") {
		t.Errorf("%q has the id %q, %v", token, id, err)
	}
	if hash, err := parseStored(stored); err != nil || hash != sha256.Sum256([]byte(token)) {
		t.Errorf("%q is the hash %x, %v", stored, hash, err)
	}
	for i := range token { // a mistyped character
		wrong := []byte(token)
		if wrong[i]++; wrong[i] == token[i] {
			continue
		}
		if _, err := parseToken(string(wrong)); err == nil {
			t.Errorf("%q is a token", wrong)
		}
	}
	for _, bad := range []string{"", "slk_", token[:len(token)-1], token + "0", strings.ReplaceAll(token, "_", "-")} {
		if _, err := parseToken(bad); err == nil {
			t.Errorf("%q is a token", bad)
		}
	}
	if _, err := parseStored(token); err == nil || !strings.Contains(err.Error(), "should not be used") {
		t.Errorf("a token in the file: %v", err)
	}
}

// Each address has guesses of its own, which become available again with time. The table does not grow.
func TestGuesses(t *testing.T) {
	var g guesses
	now := time.Unix(1e9, 0)
	bad, good := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for i := range guessBurst {
		if wait := g.limited(bad, now); wait > 0 {
			t.Fatalf("limited after %d guesses", i)
		}
		g.failed(bad, now)
	}
	if g.limited(bad, now) == 0 || g.limited(netip.MustParseAddr("::ffff:10.0.0.1"), now) == 0 || g.limited(good, now) != 0 {
		t.Error("limited is the wrong address")
	}
	if wait := g.limited(bad, now); g.limited(bad, now.Add(wait)) != 0 || g.limited(bad, now.Add(wait-time.Millisecond)) == 0 {
		t.Errorf("the wait of %v is wrong", wait)
	}
	six := netip.MustParseAddr("2001:db8::1")
	for range guessBurst {
		g.failed(six, now)
	}
	if g.limited(netip.MustParseAddr("2001:db8::2"), now) == 0 || g.limited(netip.MustParseAddr("2001:db8:0:1::1"), now) != 0 {
		t.Error("an IPv6 address does not count as its /64")
	}
	for i := range 2 * maxGuessers {
		g.failed(netip.AddrFrom4([4]byte{1, 0, byte(i >> 8), byte(i)}), now)
	}
	if len(g.full) > maxGuessers {
		t.Errorf("%d addresses are remembered", len(g.full))
	}
	if g.limited(bad, now) == 0 {
		t.Error("the worst address was forgotten in favour of new ones")
	}
}
