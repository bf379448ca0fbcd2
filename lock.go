package sharelock

import (
	"math"
	"strconv"
	"time"
)

// Token is a fencing token of 63 bits. The upper half is the epoch of the grant, the lower half a
// counter of the key's partition. Every later grant of a key has a larger token, across crashes,
// moves and restarts. Zero is not a token.
//
// A token fits into a signed 64-bit integer. It does not fit into a JSON number, so it is a string
// in JSON.
type Token uint64

// MakeToken combines an epoch (below 2^31) and a counter.
func MakeToken(epoch, counter uint32) Token {
	return Token(uint64(epoch)<<32 | uint64(counter))
}

// Epoch returns the epoch in which the token was granted.
func (t Token) Epoch() uint32 { return uint32(t >> 32) }

// Counter returns the token's number within its epoch and partition.
func (t Token) Counter() uint32 { return uint32(t & math.MaxUint32) }

// String returns the decimal form that HTTP and the command line use.
func (t Token) String() string { return strconv.FormatUint(uint64(t), 10) }

// Mode determines which other clients may hold a lock at the same time.
type Mode uint8

// The modes. The zero value is Exclusive.
const (
	Exclusive Mode = iota
	Shared
)

// String returns the name of the mode as on the wire.
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
	// Principal is the authenticated principal of the caller that was granted the hold. It is
	// empty if the caller's node did not authenticate.
	Principal string
	Mode      Mode
	// Slots is the number of slots of a semaphore; 0 for a mutex, never 1.
	Slots uint32
	TTL   time.Duration
	// ExpiresIn is how long the owner will keep the hold if it is not renewed, by the owner's
	// clock.
	ExpiresIn time.Duration
	// SafeFor is how long the caller may rely on the hold, from the moment at which it sent the
	// request that is answered (rule Q3). After that it must consider the lock lost.
	SafeFor time.Duration
	// MaxHold is how long the hold may last in total, renewed or not. EndsIn is how much of
	// it the holder may still rely on, from now. Both are 0 if there is no limit.
	MaxHold, EndsIn time.Duration
	// Node is the name of the member that owns the key.
	Node     string
	Metadata map[string]string
}

// Waiter is one place in a key's queue.
type Waiter struct {
	ClientID  string
	RequestID string
	// Principal is the authenticated principal of the waiting caller. It is empty if the caller's
	// node did not authenticate.
	Principal string
	Mode      Mode
	Slots     uint32
	// Waiting is how long the waiter has been in this owner's queue.
	Waiting  time.Duration
	Metadata map[string]string
}

// KeyState is the state of one key: who holds it and who waits, in order.
type KeyState struct {
	Key       string
	Partition uint32
	// Owner is the name of the member that answered.
	Owner   string
	Epoch   uint32
	Holds   []Hold
	Waiters []Waiter
	// HoldCount and WaiterCount are the total numbers of holders and waiters. Holds and Waiters
	// may list only the first of them.
	HoldCount, WaiterCount int
	// Quarantine is how long the partition will grant nothing because its state was lost; zero
	// when it is not in quarantine.
	Quarantine time.Duration
}

// DefaultWait as the Wait of an [AcquireRequest] means the node's default wait.
const DefaultWait time.Duration = -1

// AcquireRequest asks for a lock.
type AcquireRequest struct {
	Key      string
	ClientID string
	// RequestID lets a retry of this request find the same grant (rule Q2). If it is empty, the
	// node makes one, and a retry is a new request.
	RequestID string
	// TTL is how long the hold lives without a renewal; 0 means the node's default.
	TTL time.Duration
	// Wait is how long to wait in the queue. 0 tries once; DefaultWait, or any negative value,
	// means the node's default.
	Wait time.Duration
	Mode Mode
	// Slots above 1 makes the key a semaphore of that many holders; 0 and 1 mean a mutex.
	Slots    uint32
	Metadata map[string]string
	// MaxHold is how long the hold may last in total, however often it is renewed; 0 means no
	// limit. The owner's limit (locks.max_hold) applies if it is shorter.
	MaxHold time.Duration
}

// ListRequest asks for the locks that are held or waited for.
type ListRequest struct {
	// Prefix restricts the list to keys that begin with it; empty means every key.
	Prefix string
	// ClientID restricts the list to keys that this client holds or waits for; empty means
	// every client.
	ClientID string
	// PageSize is the maximum number of locks in one page: at most 1000; 0 means 100.
	PageSize int
	// PageToken is the NextPageToken of the previous page; empty for the first page.
	PageToken string
}

// ListPage is one page of locks, sorted by key.
type ListPage struct {
	Locks []KeyState
	// NextPageToken is empty on the last page. A page may be shorter than the request asked
	// for, even if it is not the last one.
	NextPageToken string
	// Quarantined is the number of partitions that are in quarantine because their state was
	// lost. Locks that may still exist in them are not listed.
	Quarantined int
}

// TokenCheck is what the owner knows about a token.
type TokenCheck struct {
	// Current reports whether the token is one of the key's current grants.
	Current bool
	// Holds are the key's current grants, at most the first MaxHolders.
	Holds []Hold
	// HoldCount and WaiterCount are the total numbers of holders and waiters.
	HoldCount, WaiterCount int
}
