package halfclosed

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sgkandale/sharelock/api/remote"
)

// callerKey is the key of a context value: the context of the caller.
type callerKey struct{}

// UnlessItWaits returns a context for an acquire whose caller may have closed only its half of the
// connection. The context does not end with ctx; an acquire that would have to wait ends with ctx.
// See [ListensUnder].
func UnlessItWaits(ctx context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(ctx), callerKey{}, ctx)
}

// ListensUnder returns the context of an acquire's caller if ctx was made by UnlessItWaits, and nil
// otherwise. If that context has ended, an acquire that would have to wait must fail with
// [context.Canceled]; an acquire that need not wait is served.
func ListensUnder(ctx context.Context) context.Context {
	caller, _ := ctx.Value(callerKey{}).(context.Context)
	return caller
}

// probeTime is how long the caller's system may take to acknowledge the first bytes of an answer.
// probeFirstPause and probeLongestPause are the first and the longest pause between two checks.
const (
	probeTime         = 3 * time.Second
	probeFirstPause   = 200 * time.Microsecond
	probeLongestPause = 20 * time.Millisecond
)

// Probe finds out whether a caller whose connection appears closed has closed only its
// half and would still read an answer. A half-closed connection looks like a closed one until data
// is sent on it: if the caller is gone, its system answers with a reset; if the caller still reads,
// its system acknowledges the data. So Probe sends the first bytes of the answer, which
// are the same for all answers, before anything is granted. After the grant it would be too late,
// because a reset may then come from a caller that has read the answer.
//
// Probe returns a writer for the rest of the answer, which the caller of Probe
// must close, or nil if the caller is gone.
func Probe(w http.ResponseWriter, r *http.Request) *Conn {
	if r.Context().Err() == nil || r.ProtoMajor != 1 || !canSeeAcknowledged(remote.Conn(r.Context())) {
		return nil
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	h := &Conn{conn: conn, sent: r.Proto + " ", header: http.Header{}, request: r, before: w}
	if conn.SetDeadline(time.Now().Add(probeTime)) == nil {
		if _, err = io.WriteString(conn, h.sent); err == nil && acknowledged(remote.Conn(r.Context())) {
			return h
		}
	}
	h.Close()
	return nil
}

// acknowledged reports whether the other end of a connection acknowledges all sent data within
// probeTime.
func acknowledged(conn net.Conn) bool {
	pause := probeFirstPause
	for end := time.Now().Add(probeTime); ; pause = min(2*pause, probeLongestPause) {
		all, open := seeAcknowledged(conn)
		switch {
		case !open:
			return false
		case all:
			return true
		case time.Now().After(end):
			return false
		}
		time.Sleep(pause)
	}
}

// Conn writes the answer, without its first bytes, to a caller that has closed its half of
// the connection. It is an [http.ResponseWriter] for a single Write.
type Conn struct {
	conn    net.Conn
	request *http.Request
	before  http.ResponseWriter // that of the request, which is not written to any more
	sent    string              // the first bytes of the answer, which were sent already
	header  http.Header
	status  int
}

// Close closes the connection.
func (h *Conn) Close() { _ = h.conn.Close() }

// Before returns the writer of the request, which is not written to any more. It is for what
// recognises a request by its writer.
func (h *Conn) Before() http.ResponseWriter { return h.before }

// Header implements [http.ResponseWriter].
func (h *Conn) Header() http.Header { return h.header }

// WriteHeader implements [http.ResponseWriter].
func (h *Conn) WriteHeader(status int) { h.status = status }

// Write implements [http.ResponseWriter].
func (h *Conn) Write(b []byte) (int, error) {
	h.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	answer := http.Response{
		StatusCode: h.status, ProtoMajor: h.request.ProtoMajor, ProtoMinor: h.request.ProtoMinor, Request: h.request,
		Header: h.header, ContentLength: int64(len(b)), Body: io.NopCloser(bytes.NewReader(b)), Close: true,
	}
	var out bytes.Buffer
	if err := answer.Write(&out); err != nil {
		return 0, err
	}
	if _, err := h.conn.Write(out.Bytes()[len(h.sent):]); err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetWriteDeadline sets the write deadline. [http.ResponseController] calls it.
func (h *Conn) SetWriteDeadline(t time.Time) error { return h.conn.SetWriteDeadline(t) }

// Flush implements [http.Flusher]. It does nothing, because Write does not buffer.
func (h *Conn) Flush() {}
