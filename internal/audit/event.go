package audit

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// Results of events. A result of an authentication reload is Reloaded or Failed.
const (
	Allowed  = "allowed"
	Denied   = "denied"
	Forced   = "forced"
	Reloaded = "reloaded"
	Failed   = "failed"
)

// maxText bounds each text of an event, in bytes. A key is at most that long; a principal or a
// method that a stranger makes up may be longer.
const maxText = 512

// Event is one line of the audit log. It has no field for a credential: only the kind of it.
// Empty fields are left out of the line.
type Event struct {
	// Time and Node are set by the log.
	Time time.Time `json:"time"`
	Node string    `json:"node"`
	// Principal is who called, and Credential how they proved it: "certificate", "token", "jwt",
	// or "none".
	Principal  string `json:"principal,omitempty"`
	Credential string `json:"credential,omitempty"`
	// Remote is the address of the other end of the connection.
	Remote string `json:"remote,omitempty"`
	// Door is the API: "grpc", "http", "session", "legacy" and others. Method is the call in it.
	Door   string `json:"door,omitempty"`
	Method string `json:"method,omitempty"`
	// Verb is the permission that the call needs, and Key the key that it is about.
	Verb   string `json:"verb,omitempty"`
	Key    string `json:"key,omitempty"`
	Result string `json:"result"`
	// Token is the fencing token, 0 if there is none.
	Token uint64 `json:"token,omitempty,string"`
	// Rule is the policy rule that allowed the call.
	Rule string `json:"rule,omitempty"`
	// Reason is the reason that the caller gave, or why the call was denied or failed.
	Reason string `json:"reason,omitempty"`
	// Suppressed is the number of denials that have no lines of their own, and Since is when the first
	// of them came; both are set in a line that summarises them.
	Suppressed uint64    `json:"suppressed,omitempty"`
	Since      time.Time `json:"since,omitzero"`
}

// clipped returns e with every text bounded.
func (e Event) clipped() Event {
	for _, s := range []*string{
		&e.Principal, &e.Credential, &e.Remote, &e.Door, &e.Method, &e.Verb, &e.Key, &e.Result, &e.Rule, &e.Reason,
	} {
		*s = clip(*s)
	}
	return e
}

// clip returns at most maxText bytes of s, and ends between two characters.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > maxText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// gap describes the lines that were lost since the last gap line.
type gap struct {
	lines uint64
	// since is when the first of them was lost, and why is the reason of the last.
	since time.Time
	why   string
}

// add merges an older or a newer gap into g.
func (g *gap) add(other gap) {
	if other.lines == 0 {
		return
	}
	if g.lines == 0 || other.since.Before(g.since) {
		g.since = other.since
	}
	if g.why == "" {
		g.why = other.why
	}
	g.lines += other.lines
}

// gapLine is the line that marks a gap in the log.
type gapLine struct {
	Time    time.Time `json:"time"`
	Node    string    `json:"node"`
	Gap     bool      `json:"gap"`
	Dropped uint64    `json:"dropped"`
	Since   time.Time `json:"since"`
	Reason  string    `json:"reason"`
}

// appendLine appends v as a line of JSON.
func appendLine(buf []byte, v any) []byte {
	line, err := json.Marshal(v)
	if err != nil {
		// Only a time outside the years 0 to 9999 cannot be encoded.
		line = []byte(`{"result":"failed","reason":"this line cannot be encoded"}`)
	}
	return append(append(buf, line...), '\n')
}
