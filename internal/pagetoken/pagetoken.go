// Package pagetoken encodes the place at which the next page of a list begins.
package pagetoken

import "encoding/hex"

// After returns the token of a page that begins after a key.
func After(key string) string { return hex.EncodeToString([]byte(key)) }

// Key returns the key after which the page of a token begins. It is empty for the first page, whose
// token is empty.
func Key(token string) (string, error) {
	b, err := hex.DecodeString(token)
	return string(b), err
}
