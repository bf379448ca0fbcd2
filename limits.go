package sharelock

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of what a request may carry.
const (
	MaxKeyBytes       = 512
	MaxClientIDBytes  = 128
	MaxRequestIDBytes = 64
	MaxMetadataPairs  = 16
	MaxMetadataBytes  = 2 << 10
	MaxReasonBytes    = 512
	MaxSlots          = 1_000_000
	MaxPageSize       = 1000
	DefaultPageSize   = 100
	// MaxListed is the most holds, and the most waiters, of one key that a read lists, and
	// MaxListedBytes the most bytes of both, roughly. Their counts are exact.
	MaxListed      = 1000
	MaxListedBytes = 256 << 10
	// MaxHolders is the most holders that ErrLockHeld names, without their metadata, and the
	// most holds that a check of a token lists.
	MaxHolders = 10
	// MaxBodyBytes is the largest HTTP body.
	MaxBodyBytes = 64 << 10
	// MaxMessageBytes is the largest gRPC message.
	MaxMessageBytes = 4 << 20
	// MinTTL is the shortest life of a lock.
	MinTTL = 100 * time.Millisecond
	// MostMaxHold is the longest that max_hold can be; the shortest is MinTTL.
	MostMaxHold = 100 * 24 * time.Hour
)

// Limits are the settings of a node that requests are checked against. The
// zero value of a field has no default here: see mesh.DefaultConfig.
type Limits struct {
	DefaultTTL  time.Duration
	MaxTTL      time.Duration
	DefaultWait time.Duration
	MaxWait     time.Duration
}

// CheckKey says what is wrong with a key: 1 to 512 bytes of UTF-8, no NUL.
func CheckKey(key string) error {
	switch {
	case key == "":
		return Invalid("key", "must not be empty")
	case len(key) > MaxKeyBytes:
		return Invalid("key", fmt.Sprintf("has %d bytes, the most is %d", len(key), MaxKeyBytes))
	}
	return checkText("key", key)
}

// CheckClientID says what is wrong with a client id: 1 to 128 bytes of UTF-8,
// no NUL.
func CheckClientID(id string) error {
	switch {
	case id == "":
		return Invalid("client_id", "must not be empty (or set x-client-id)")
	case len(id) > MaxClientIDBytes:
		return Invalid("client_id", fmt.Sprintf("has %d bytes, the most is %d", len(id), MaxClientIDBytes))
	}
	return checkText("client_id", id)
}

// CheckRequestID says what is wrong with a request id: up to 64 bytes of UTF-8, no NUL.
// The empty id stands for one that the first node makes.
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

// CheckTTL says what is wrong with a TTL that was given.
func (l Limits) CheckTTL(ttl time.Duration) error {
	switch {
	case ttl < MinTTL:
		return Invalid("ttl", fmt.Sprintf("%v is below the least, %v", ttl, MinTTL))
	case ttl > l.MaxTTL:
		return Invalid("ttl", fmt.Sprintf("%v is above max_ttl, %v", ttl, l.MaxTTL))
	}
	return nil
}

// Check fills in the defaults of a request and says what is wrong with it.
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

// CheckMaxHold says what is wrong with the longest time of a hold; 0 is no limit.
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

// CheckMetadata says what is wrong with a lock's metadata.
func CheckMetadata(m map[string]string) error {
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
