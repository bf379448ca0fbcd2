package sharelock

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of requests.
const (
	MaxKeyBytes       = 512
	MaxClientIDBytes  = 128
	MaxRequestIDBytes = 64
	// MaxPrincipalBytes is the maximum size of the name of a principal: a name of the auth
	// file of 128 bytes and, of a JWT, a slash and a subject of 256.
	MaxPrincipalBytes = 128 + 1 + 256
	MaxMetadataPairs  = 16
	MaxMetadataBytes  = 2 << 10
	MaxReasonBytes    = 512
	MaxSlots          = 1_000_000
	MaxPageSize       = 1000
	DefaultPageSize   = 100
	// A read of one key lists at most MaxListed holds and MaxListed waiters, and about
	// MaxListedBytes of both together. The counts of a read are exact.
	MaxListed      = 1000
	MaxListedBytes = 256 << 10
	// MaxHolders is the maximum number of holders in an ErrLockHeld, which have no metadata,
	// and of holds in the check of a token.
	MaxHolders = 10
	// MaxBodyBytes is the maximum size of an HTTP request body.
	MaxBodyBytes = 64 << 10
	// MaxMessageBytes is the maximum size of a gRPC message.
	MaxMessageBytes = 4 << 20
	// MinTTL is the minimum TTL of a lock.
	MinTTL = 100 * time.Millisecond
	// MostMaxHold is the maximum value of max_hold; the minimum is MinTTL.
	MostMaxHold = 100 * 24 * time.Hour
)

// Limits are the settings of a node that requests are checked against. All fields must be set;
// mesh.DefaultConfig has the defaults.
type Limits struct {
	DefaultTTL  time.Duration
	MaxTTL      time.Duration
	DefaultWait time.Duration
	MaxWait     time.Duration
}

// CheckKey returns an error if a key is invalid. A key is 1 to 512 bytes of UTF-8 without NUL.
func CheckKey(key string) error {
	switch {
	case key == "":
		return Invalid("key", "must not be empty")
	case len(key) > MaxKeyBytes:
		return Invalid("key", fmt.Sprintf("has %d bytes, the most is %d", len(key), MaxKeyBytes))
	}
	return checkText("key", key)
}

// CheckClientID returns an error if a client id is invalid. A client id is 1 to 128 bytes of UTF-8
// without NUL.
func CheckClientID(id string) error {
	switch {
	case id == "":
		return Invalid("client_id", "must not be empty (or set x-client-id)")
	case len(id) > MaxClientIDBytes:
		return Invalid("client_id", fmt.Sprintf("has %d bytes, the most is %d", len(id), MaxClientIDBytes))
	}
	return checkText("client_id", id)
}

// CheckRequestID returns an error if a request id is invalid. A request id is up to 64 bytes of
// UTF-8 without NUL. An empty id means that the first node makes one.
func CheckRequestID(id string) error {
	if len(id) > MaxRequestIDBytes {
		return Invalid("request_id", fmt.Sprintf("has %d bytes, the most is %d", len(id), MaxRequestIDBytes))
	}
	return checkText("request_id", id)
}

func checkText(field, s string) error {
	if !utf8.ValidString(s) {
		return Invalid(field, "is not valid UTF-8")
	}
	if strings.IndexByte(s, 0) >= 0 {
		return Invalid(field, "contains a NUL byte")
	}
	return nil
}

// CheckTTL returns an error if a TTL is outside the limits.
func (l Limits) CheckTTL(ttl time.Duration) error {
	switch {
	case ttl < MinTTL:
		return Invalid("ttl", fmt.Sprintf("%v is below the least, %v", ttl, MinTTL))
	case ttl > l.MaxTTL:
		return Invalid("ttl", fmt.Sprintf("%v is above max_ttl, %v", ttl, l.MaxTTL))
	}
	return nil
}

// Check fills in the defaults of a request and returns an error if the request is invalid.
func (l Limits) Check(r *AcquireRequest) error {
	if err := CheckKey(r.Key); err != nil {
		return err
	}
	if err := CheckClientID(r.ClientID); err != nil {
		return err
	}
	if err := CheckRequestID(r.RequestID); err != nil {
		return err
	}
	if r.TTL == 0 {
		r.TTL = l.DefaultTTL
	}
	if err := l.CheckTTL(r.TTL); err != nil {
		return err
	}
	if r.Wait < 0 {
		r.Wait = l.DefaultWait
	}
	if r.Wait > l.MaxWait {
		return Invalid("wait", fmt.Sprintf("%v is above max_wait, %v", r.Wait, l.MaxWait))
	}
	if err := CheckMaxHold(r.MaxHold); err != nil {
		return err
	}
	if r.Slots == 1 {
		r.Slots = 0
	}
	switch {
	case r.Mode != Exclusive && r.Mode != Shared:
		return Invalid("mode", "is neither EXCLUSIVE nor SHARED")
	case r.Mode == Shared && r.Slots > 1:
		return Invalid("slots", "cannot be combined with mode SHARED")
	case r.Slots > MaxSlots:
		return Invalid("slots", fmt.Sprintf("%d is above the most, %d", r.Slots, MaxSlots))
	}
	return CheckMetadata(r.Metadata)
}

// CheckMaxHold returns an error if a maximum tenure is invalid; 0 means no limit.
func CheckMaxHold(d time.Duration) error {
	switch {
	case d == 0:
	case d < MinTTL:
		return Invalid("max_hold", fmt.Sprintf("%v is below the least, %v", d, MinTTL))
	case d > MostMaxHold:
		return Invalid("max_hold", fmt.Sprintf("%v is above the most, %v", d, MostMaxHold))
	}
	return nil
}

// CheckMetadata returns an error if a lock's metadata is invalid.
func CheckMetadata(m map[string]string) error {
	if len(m) == 0 {
		return nil // the common case, without the cost of an iterator
	}
	if len(m) > MaxMetadataPairs {
		return Invalid("metadata", fmt.Sprintf("has %d pairs, the most is %d", len(m), MaxMetadataPairs))
	}
	size := 0
	for k, v := range m {
		if k == "" {
			return Invalid("metadata", "has an empty name")
		}
		if err := checkText("metadata", k); err != nil {
			return err
		}
		if err := checkText("metadata", v); err != nil {
			return err
		}
		size += len(k) + len(v)
	}
	if size > MaxMetadataBytes {
		return Invalid("metadata", fmt.Sprintf("has %d bytes, the most is %d", size, MaxMetadataBytes))
	}
	return nil
}
