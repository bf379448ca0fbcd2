package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"
)

// A token is slk_<id>_<secret><check>, all in base 62: a public id of 8 characters for logs, 160
// random bits, and a CRC-32 of everything before it. By the CRC, scanners recognise a leaked token,
// and a mistyped token is distinguished from a wrong one. The prefix and the lengths are fixed.
const (
	tokenPrefix = "slk_"
	idDigits    = 8
	// secretBytes is how many random bytes a secret has; secretDigits holds them in base 62.
	secretBytes  = 20
	secretDigits = 27
	checkDigits  = 6
	tokenLength  = len(tokenPrefix) + idDigits + 1 + secretDigits + checkDigits
)

// hashPrefix precedes the hash of a token in the auth file.
const hashPrefix = "sha256:"

var errDamaged = errors.New("the token is damaged: copy all of it")

// NewToken makes a token. Its second result is what the auth file stores of it.
func NewToken() (token, stored string) {
	var random [idDigits + secretBytes]byte
	rand.Read(random[:]) //nolint:errcheck // never fails, see crypto/rand
	token = tokenPrefix + base62(random[:idDigits], idDigits) + "_" + base62(random[idDigits:], secretDigits)
	token += checkOf(token)
	return token, StoredToken(token)
}

// StoredToken returns what the auth file stores of a token. A token is random and long, so that one
// SHA-256 is enough.
func StoredToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hashPrefix + hex.EncodeToString(sum[:])
}

// parseToken returns the public id of a token. It fails if the token cannot be one that [NewToken]
// has made.
func parseToken(token string) (id string, err error) {
	if len(token) != tokenLength || !strings.HasPrefix(token, tokenPrefix) {
		return "", errDamaged
	}
	id, rest, _ := strings.Cut(token[len(tokenPrefix):], "_")
	body, check := token[:tokenLength-checkDigits], token[tokenLength-checkDigits:]
	if len(id) != idDigits || strings.Trim(id+rest, digits62) != "" || check != checkOf(body) {
		return "", errDamaged
	}
	return id, nil
}

// parseStored returns the hash of a token as the auth file has it.
func parseStored(s string) (hash [sha256.Size]byte, err error) {
	text, ok := strings.CutPrefix(s, hashPrefix)
	if strings.HasPrefix(s, tokenPrefix) {
		return hash, errors.New("this is a token itself; the file has only its hash, see 'sharelock auth token create', and this token should not be used any more")
	}
	b, err := hex.DecodeString(text)
	if !ok || err != nil || len(b) != len(hash) {
		return hash, fmt.Errorf("want %s and 64 hexadecimal digits, as 'sharelock auth token create' prints them", hashPrefix)
	}
	return [sha256.Size]byte(b), nil
}

// checkOf returns the check of the text before it.
func checkOf(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	return base62(binary.BigEndian.AppendUint32(nil, sum), checkDigits)
}

const digits62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// base62 returns the last n digits of a number.
func base62(b []byte, n int) string {
	out := make([]byte, n)
	v, base, digit := new(big.Int).SetBytes(b), big.NewInt(int64(len(digits62))), new(big.Int)
	for i := range out {
		v.DivMod(v, base, digit)
		out[n-1-i] = digits62[digit.Int64()]
	}
	return string(out)
}
