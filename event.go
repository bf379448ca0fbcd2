package sharelock

import "time"

// EventType says what an [Event] tells. Its value is the name that HTTP and the command line use.
type EventType string

// What may happen to a key, and to a watch itself.
const (
	// Acquired: the client holds the key.
	Acquired EventType = "acquired"
	// Released: the holder gave the hold back. With a reason, the client gave its request up.
	Released EventType = "released"
	// Expired: nobody renewed the hold.
	Expired EventType = "expired"
	// Forced: the hold was taken from its holder, for the reason that the event names.
	Forced EventType = "forced"
	// Queued: the client waits for the key.
	Queued EventType = "queued"
	// LeftQueue: the client does not wait any more and was not granted the key.
	LeftQueue EventType = "left_queue"
	// Moved: another node owns the key, or some of the keys, now. Snapshots and Synced follow.
	Moved EventType = "moved"
	// Snapshot shows one hold, or one waiter if it has no token, as of now.
	Snapshot EventType = "snapshot"
	// Synced: what the watch has told since its begin, or since the last Moved or Reset, is the
	// present state.
	Synced EventType = "synced"
	// Reset: events were left out. What was told before does not count any more; Snapshots and
	// Synced follow.
	Reset EventType = "reset"
	// Ping shows that the watch is alive.
	Ping EventType = "ping"
)

// Event is something that a watch tells. Events of one key come in the order in which they
// happened and never go back; between keys there is no order.
type Event struct {
	Type EventType
	// Key is empty in events about the watch itself if it watches a prefix.
	Key string
	// Token, ClientID, Principal and Mode are those of the hold or of the waiter. A waiter has no
	// token.
	Token     Token
	ClientID  string
	Principal string
	Mode      Mode
	// Reason says more about why; it may be empty.
	Reason string
	// At is when it happened, by the clock of the node that owns the key. It is informative only.
	At time.Time
	// Waiters is the length of the key's queue afterwards.
	Waiters int
	// Filtered is set in Synced if keys are left out because the caller may not read them.
	Filtered bool
	// Cursor is where a watch may be resumed after this event.
	Cursor string
}

// WatchRequest asks for the events of one key, or of all keys with a prefix.
type WatchRequest struct {
	// Key, if not empty, is the only key to watch. Otherwise all keys that begin with Prefix are
	// watched.
	Key, Prefix string
	// Resume is the Cursor of the last event that the caller has seen. If the watch cannot go on
	// from there, it begins with Reset. Without Resume it begins with Snapshots and Synced.
	Resume string
}
