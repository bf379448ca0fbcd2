package httpjson

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
)

// AppendEvent appends an event as a server-sent event, without reflection, because a node that is
// watched does little else. A ping has no id, so that it does not change where a browser resumes, and is
// also a comment, for clients that expect one. An empty id makes a browser forget where it would resume,
// because the events up to there no longer count.
func AppendEvent(b []byte, e *sharelock.Event) []byte {
	switch {
	case e.Type == sharelock.Ping:
		b = append(b, ": keep-alive\n"...)
	case e.Type == sharelock.Reset, e.Type == sharelock.Moved:
		b = append(b, "id\n"...)
	case e.Cursor != "" && !strings.ContainsAny(e.Cursor, "\r\n\x00"):
		b = append(append(append(b, "id: "...), e.Cursor...), '\n')
	}
	b = append(append(append(b, "event: "...), e.Type...), "\ndata: "...)
	return append(appendEventData(b, e), "\n\n"...)
}

// appendEventData appends the data of an event, in JSON.
func appendEventData(b []byte, e *sharelock.Event) []byte {
	b = appendJSON(append(b, `{"key":`...), e.Key)
	b = strconv.AppendUint(append(b, `,"token":"`...), uint64(e.Token), 10)
	b = appendJSON(append(b, `","clientId":`...), e.ClientID)
	b = appendJSON(append(b, `,"principal":`...), e.Principal)
	b = appendJSON(append(b, `,"mode":`...), e.Mode.String())
	b = appendJSON(append(b, `,"reason":`...), e.Reason)
	b = e.At.UTC().AppendFormat(append(b, `,"at":"`...), time.RFC3339Nano)
	b = strconv.AppendInt(append(b, `","waiters":`...), int64(e.Waiters), 10)
	if e.Filtered {
		b = append(b, `,"filtered":true`...)
	}
	return append(b, '}')
}

// appendJSON appends a string in JSON.
func appendJSON(b []byte, s string) []byte {
	if plainText(s) {
		return appendText(b, s)
	}
	data, err := json.Marshal(s)
	if err != nil { // a string always has a JSON form
		return append(b, `""`...)
	}
	return append(b, data...)
}
