package linear

import (
	"fmt"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
)

// Op is what a call asked for.
type Op string

// The calls that the model knows. Force with token 0 ends the holds that the key has when the
// call arrives; they need not all end at the same moment.
const (
	Acquire    Op = "acquire"
	Renew      Op = "renew"
	Release    Op = "release"
	Force      Op = "force"
	Get        Op = "get"
	CheckToken Op = "check"
)

// Outcome is how a call ended. The zero value is Unknown.
type Outcome int

// The outcomes.
const (
	// Unknown: no answer came, or one that leaves open whether the call had an effect.
	Unknown Outcome = iota
	// OK: the call had its effect.
	OK
	// Refused: the owner refused: the key is held (acquire), the token is not a grant (renew,
	// release, force), nobody holds the key (get).
	Refused
)

// Hold is a grant that an answer showed.
type Hold struct {
	Token     sharelock.Token
	RequestID string
	Client    string
}

// Call is one request and its answer.
type Call struct {
	Key       string
	Client    string
	Op        Op
	RequestID string // for an acquire; may be empty
	Mode      sharelock.Mode
	Slots     uint32
	// Start is a time before the call was sent, End a time after its answer came. End is ignored
	// while the outcome is Unknown.
	Start, End time.Time
	Outcome    Outcome
	// Token is the token that the call named or was granted.
	Token sharelock.Token
	// SafeUntil is set for an acquire or a renewal that is OK: the caller may rely on the lock
	// until then. A value earlier than the true one makes the check weaker, but not wrong.
	SafeUntil time.Time
	// Holds are all grants of the key, for a Get or CheckToken that is OK, or some of them, for a
	// refused acquire.
	Holds []Hold
	// Some is set if a Get shows only some of the grants.
	Some bool
	// Current is the answer of a CheckToken.
	Current bool
}

// line formats the call for people, with times relative to the start of the history.
func (c *Call) line(start time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "+%v %s %s", c.Start.Sub(start), c.Client, c.Op)
	if c.RequestID != "" {
		fmt.Fprintf(&b, " id %s", c.RequestID)
	}
	if c.Token != 0 {
		fmt.Fprintf(&b, " token %s", short(c.Token))
	}
	if c.Op == Acquire && (c.Mode != sharelock.Exclusive || c.Slots > 1) {
		fmt.Fprintf(&b, " %v slots %d", c.Mode, c.Slots)
	}
	switch c.Outcome {
	case Unknown:
		b.WriteString(": no answer")
		return b.String()
	case Refused:
		b.WriteString(": refused")
	case OK:
		b.WriteString(": done")
	}
	if c.Op == CheckToken {
		fmt.Fprintf(&b, ", current %t", c.Current)
	}
	if c.Op == Get || len(c.Holds) > 0 {
		b.WriteString(", holders")
		for _, h := range c.Holds {
			b.WriteString(" " + short(h.Token))
		}
	}
	if !c.SafeUntil.IsZero() {
		fmt.Fprintf(&b, ", safe until +%v", c.SafeUntil.Sub(start))
	}
	fmt.Fprintf(&b, " at +%v", c.End.Sub(start))
	return b.String()
}

// short formats a token as epoch/counter.
func short(t sharelock.Token) string { return fmt.Sprintf("%d/%d", t.Epoch(), t.Counter()) }
