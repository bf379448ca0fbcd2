package sharelock

import (
	"fmt"
	"time"
)

// The number of entries of a history: the default, and the maximum that may be asked for.
const (
	DefaultHistory = 100
	MaxHistory     = 1000
)

// A HistoryRequest asks who held a key.
type HistoryRequest struct {
	Key string
	// From and To restrict the answer to holds that were held at some time between them. A zero From
	// is as far back as nodes keep the history, a zero To is now.
	From, To time.Time
	// Limit is the maximum number of entries, the newest; 0 is DefaultHistory.
	Limit int
}

// Check returns an error if a request is invalid.
func (r HistoryRequest) Check() error {
	if err := CheckKey(r.Key); err != nil {
		return err
	}
	switch {
	case r.Limit < 0 || r.Limit > MaxHistory:
		return Invalid("limit", fmt.Sprintf("is %d, the most is %d", r.Limit, MaxHistory))
	case !r.From.IsZero() && !r.To.IsZero() && r.To.Before(r.From):
		return Invalid("to", "is before from")
	}
	return nil
}

// A HoldEnd says why a hold has ended.
type HoldEnd string

// The values of HoldEnd.
const (
	// EndNone: it is still held, as far as is known.
	EndNone HoldEnd = ""
	// EndReleased: the holder gave it back.
	EndReleased HoldEnd = "RELEASED"
	// EndExpired: nobody renewed it.
	EndExpired HoldEnd = "EXPIRED"
	// EndForced: it was taken from its holder.
	EndForced HoldEnd = "FORCED"
	// EndLost: all copies of the key's state were lost.
	EndLost HoldEnd = "LOST"
)

// A PastHold is one hold in the history of a key. Times are by the clock of the node that owned the
// key; what is not known is zero.
type PastHold struct {
	Token     Token
	ClientID  string
	Principal string
	Mode      Mode
	Acquired  time.Time
	// Waited is how long the holder was in the queue before, if WaitKnown is set.
	Waited    time.Duration
	WaitKnown bool
	Ended     time.Time
	End       HoldEnd
	// By is who took the hold from its holder.
	By string
}

// A History is the answer to a HistoryRequest.
type History struct {
	// Entries are the holds, the newest first.
	Entries []PastHold
	// Complete is set if nothing is missing since From, except older entries beyond the limit.
	Complete bool
}
