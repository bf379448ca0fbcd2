package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
)

// lastEventID is the header with which a browser resumes a stream of events.
const lastEventID = "Last-Event-ID"

// events serves a watch as server-sent events.
func (s *httpAPI) events(w http.ResponseWriter, r *http.Request) {
	if _, err := readBody(w, r); err != nil {
		s.fail(w, r, err, nil)
		return
	}
	q, err := query(r, "key", "prefix", "resume")
	if err != nil {
		s.fail(w, r, err, nil)
		return
	}
	asked := sharelock.WatchRequest{Key: q["key"], Prefix: q["prefix"], Resume: q["resume"]}
	if last := r.Header.Get(lastEventID); last != "" {
		asked.Resume = last // it is newer: the browser has come back by itself
	}
	stream := &eventStream{w: w, rc: http.NewResponseController(w)}
	if r.Method == http.MethodHead {
		stream.begin()
		return
	}
	if err := s.gate.watch(r.Context(), s.locks.watcher, asked, stream.send); err != nil && !stream.begun {
		s.fail(w, r, err, nil)
	}
}

// An eventStream writes events as text/event-stream.
type eventStream struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
	buf   bytes.Buffer
}

// send writes events in one go. A client that does not take them within stallTime is gone.
func (s *eventStream) send(events []*sharelock.Event) error {
	s.buf.Reset()
	if !s.begun {
		s.begin()
	}
	for _, e := range events {
		if err := s.encode(e); err != nil {
			return err
		}
	}
	// Not every ResponseWriter has deadlines.
	_ = s.rc.SetWriteDeadline(time.Now().Add(stallTime))
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return err
	}
	return s.rc.Flush()
}

// begin sends the header. Proxies must neither keep nor collect what follows.
func (s *eventStream) begin() {
	s.begun = true
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	s.w.WriteHeader(http.StatusOK)
	s.buf.WriteString("retry: 1000\n\n")
}

// eventData is the data of an event.
type eventData struct {
	Key       string `json:"key"`
	Token     string `json:"token"`
	ClientID  string `json:"clientId"`
	Principal string `json:"principal"`
	Mode      string `json:"mode"`
	Reason    string `json:"reason"`
	At        string `json:"at"`
	Waiters   int    `json:"waiters"`
	Filtered  bool   `json:"filtered,omitempty"`
}

// encode appends an event. A ping has no id, so that it does not change where a browser resumes,
// and comes with a comment for whatever looks only for these. An empty id makes a browser forget
// where it would resume, because what was told up to there does not count any more.
func (s *eventStream) encode(e *sharelock.Event) error {
	data, err := json.Marshal(eventData{
		Key: e.Key, Token: strconv.FormatUint(uint64(e.Token), 10), ClientID: e.ClientID, Principal: e.Principal,
		Mode: e.Mode.String(), Reason: e.Reason, At: e.At.UTC().Format(time.RFC3339Nano), Waiters: e.Waiters, Filtered: e.Filtered,
	})
	if err != nil {
		return err
	}
	if e.Type == sharelock.Ping {
		s.buf.WriteString(": keep-alive\n")
	} else if e.Type == sharelock.Reset || e.Type == sharelock.Moved {
		s.buf.WriteString("id\n")
	} else if e.Cursor != "" && !strings.ContainsAny(e.Cursor, "\r\n\x00") {
		s.buf.WriteString("id: " + e.Cursor + "\n")
	}
	s.buf.WriteString("event: " + string(e.Type) + "\ndata: ")
	s.buf.Write(data)
	s.buf.WriteString("\n\n")
	return nil
}
