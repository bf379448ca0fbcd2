package api

import (
	"net/http"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/httpjson"
	"github.com/sgkandale/sharelock/internal/event"
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
		asked.Resume = last // newer than the parameter: the browser has reconnected by itself
	}
	stream := &eventStream{w: w, rc: http.NewResponseController(w)}
	if r.Method == http.MethodHead {
		stream.begin()
		return
	}
	if err := s.gate.Watch(r.Context(), asked, s.locks.watcher.Watch, stream.send); err != nil && !stream.begun {
		s.fail(w, r, err, nil)
	}
}

// An eventStream writes events as text/event-stream.
type eventStream struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
	buf   []byte
}

// send writes events together. It fails if the client does not read them within stallTime.
func (s *eventStream) send(events []*event.Event) error {
	s.buf = s.buf[:0]
	if !s.begun {
		s.begin()
	}
	for _, e := range events {
		s.buf = e.Append(s.buf, event.Stream, httpjson.AppendEvent)
	}
	// Not every ResponseWriter has deadlines.
	_ = s.rc.SetWriteDeadline(time.Now().Add(stallTime))
	if _, err := s.w.Write(s.buf); err != nil {
		return err
	}
	return s.rc.Flush()
}

// begin sends the header. Proxies must neither cache nor buffer what follows.
func (s *eventStream) begin() {
	s.begun = true
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	s.w.WriteHeader(http.StatusOK)
	s.buf = append(s.buf, "retry: 1000\n\n"...)
}
