package sharelock

import (
	"strconv"
	"time"
)

// Token is a fencing token: 63 bits, the epoch of the grant in the upper half
// and a counter of the key's partition in the lower. Every later grant of a key
// has a larger token, across crashes, moves and restarts. Zero is no token.
//
// A token fits a signed 64-bit integer. It does not fit a JSON number, so JSON
// carries it as a string.
type Token uint64

// MakeToken joins an epoch (below 2^31) and a counter.
func MakeToken(epoch, counter uint32) Token {
	return Token(uint64(epoch)<<32 | uint64(counter))
}

// Epoch is the epoch in which the token was granted.
func (t Token) Epoch() uint32 { return uint32(t >> 32) }

// Counter is the token's number within its epoch and partition.
func (t Token) Counter() uint32 { return uint32(t) }

// String is the decimal form that HTTP and the command line use.
func (t Token) String() string { return strconv.FormatUint(uint64(t), 10) }

// Mode says who may hold a lock together with this holder.
type Mode uint8

// The modes. The zero value is Exclusive.
const (
	Exclusive Mode = iota
	Shared
)

// String is the name of the mode as on the wire.
func (m Mode) String() string {
	switch m {
	case Exclusive:
		return "EXCLUSIVE"
	case Shared:
		return "SHARED"
	default:
		return "Mode(" + strconv.Itoa(int(m)) + ")"
	}
}

// Hold is one client's grant of a key.
type Hold struct {
	Key       string
	Token     Token
	ClientID  string
	RequestID string
	Mode      Mode
	// Slots is how many may hold the key together; 0 for a mutex, never 1.
	Slots uint32
	TTL   time.Duration
	// ExpiresIn is how long the owner keeps the hold from now on if nobody
	// renews it, as the owner's clock sees it.
	ExpiresIn time.Duration
	// SafeFor counts from the moment the caller sent the request that this
	// answers (rule Q3). Past it the caller must take the lock for lost.
	SafeFor time.Duration
	// MaxHold is the longest that the hold may last, renewed or not, and EndsIn how much
	// of it is left for the holder to count on, from now; both are 0 if there is no limit.
	MaxHold, EndsIn time.Duration
	// Node is the name of the member that owns the key.
	Node     string
	Metadata map[string]string
}

// Waiter is one place in a key's queue.
type Waiter struct {
	ClientID  string
	RequestID string
	Mode      Mode
	Slots     uint32
	// Waiting is how long the waiter has been in this owner's queue.
	Waiting  time.Duration
	Metadata map[string]string
}

// Lock is the state of one key: who holds it and who waits, in order.
type Lock struct {
	Key       string
	Partition uint32
	// Owner is the name of the member that answered.
	Owner   string
	Epoch   uint32
	Holds   []Hold
	Waiters []Waiter
	// HoldCount and WaiterCount are how many hold and wait in all; Holds and
	// Waiters may list only the first of them.
	HoldCount, WaiterCount int
	// Quarantine is how long the partition will still grant nothing because its
	// state was lost; zero when it is not in quarantine.
	Quarantine time.Duration
}

// DefaultWait as an [AcquireRequest]'s Wait stands for the node's default.
const DefaultWait time.Duration = -1

// AcquireRequest asks for a lock.
type AcquireRequest struct {
	Key      string
	ClientID string
	// RequestID makes a retry of this request find the same grant (rule Q2). If
	// empty the node makes one, and a retry is a new request.
	RequestID string
	// TTL is the life of the hold without renewals; 0 is the node's default.
	TTL time.Duration
	// Wait is how long to queue; 0 tries once, DefaultWait (any negative
	// value) is the node's default.
	Wait time.Duration
	Mode Mode
	// Slots above 1 makes the key a semaphore of that many holders; 0 and 1
	// are a mutex.
	Slots    uint32
	Metadata map[string]string
	// MaxHold is the longest that the hold may last, however often it is renewed; 0 is
	// no limit. The owner's own limit (locks.max_hold) holds if it is shorter.
	MaxHold time.Duration
}

// ListRequest asks for the locks that are held or waited for.
type ListRequest struct {
	// Prefix restricts to keys that begin with it; empty is every key.
	Prefix string
	// ClientID restricts to keys that this client holds or waits for.
	ClientID string
	// PageSize is the most locks in one page; 0 is 100, the most is 1000.
	PageSize int
	// PageToken is the NextPageToken of the page before.
	PageToken string
}

// ListPage is one page of locks in the order of their keys.
type ListPage struct {
	Locks []Lock
	// NextPageToken is empty on the last page. A page may be shorter than asked
	// for.
	NextPageToken string
	// Quarantined counts the partitions whose state was lost and which are in
	// quarantine: locks that may still exist there are not listed.
	Quarantined int
}

// TokenCheck says what the owner knows about a token.
type TokenCheck struct {
	// Current is true while the token is one of the key's grants.
	Current bool
	// Holds are the key's grants now, or the first of them, at most MaxHolders.
	Holds []Hold
	// HoldCount and WaiterCount are how many hold and wait in all.
	HoldCount, WaiterCount int
}
