package api

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// listensKey is the key of a context's value that is the context of a caller.
type listensKey struct{}

// unlessItWaits returns a context for an acquire whose caller may have closed its half of the
// connection: it does not end with ctx. See [ListensUnder].
func unlessItWaits(ctx context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(ctx), listensKey{}, ctx)
}

// ListensUnder returns the context of the caller of an acquire if its end is not to end the
// acquire unless that has to wait, and nil otherwise. The acquire then fails with
// [context.Canceled].
func ListensUnder(ctx context.Context) context.Context {
	caller, _ := ctx.Value(listensKey{}).(context.Context)
	return caller
}

// How long the system of a caller may take to acknowledge that the caller still listens, and
// how often that is looked at, at first and at most.
const (
	listensTime  = 3 * time.Second
	listensFirst = 200 * time.Microsecond
	listensMost  = 20 * time.Millisecond
)

// stillListens finds out whether a caller that has closed its connection, for all that is
// seen of it, has only closed its half of it and would read an answer. A half-closed
// connection looks as a closed one until something is sent on it: the system of a caller that
// is gone answers that with a reset, the other's acknowledges it. So the first bytes of the
// answer are sent, which are the same for all answers, before anything is granted. After
// the grant it would be too late: a reset then may come from a caller that has read it.
//
// It returns where to write the rest of the answer, which its caller closes, or nil.
func stillListens(w http.ResponseWriter, r *http.Request) *halfClosed {
	if r.Context().Err() == nil || r.ProtoMajor != 1 || !canSeeAcknowledged(connOf(r.Context())) {
		return nil
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	h := &halfClosed{conn: conn, sent: r.Proto + " ", header: http.Header{}, request: r}
	if conn.SetDeadline(time.Now().Add(listensTime)) == nil {
		if _, err = io.WriteString(conn, h.sent); err == nil && acknowledged(connOf(r.Context())) {
			return h
		}
	}
	h.close()
	return nil
}

// acknowledged reports whether the other end of a connection has acknowledged all that was
// sent, within listensTime.
func acknowledged(conn net.Conn) bool {
	pause := listensFirst
	for end := time.Now().Add(listensTime); ; pause = min(2*pause, listensMost) {
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

// halfClosed writes the answer to a caller whose half of the connection is closed, after its
// first bytes. It is an [http.ResponseWriter] of one Write.
type halfClosed struct {
	conn    net.Conn
	request *http.Request
	sent    string // the first bytes, which were sent
	header  http.Header
	status  int
}

func (h *halfClosed) close() { _ = h.conn.Close() }

// Header implements [http.ResponseWriter].
func (h *halfClosed) Header() http.Header { return h.header }

// WriteHeader implements [http.ResponseWriter].
func (h *halfClosed) WriteHeader(status int) { h.status = status }

// Write implements [http.ResponseWriter].
func (h *halfClosed) Write(b []byte) (int, error) {
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

// SetWriteDeadline is for [http.ResponseController].
func (h *halfClosed) SetWriteDeadline(t time.Time) error { return h.conn.SetWriteDeadline(t) }

// Flush implements [http.Flusher]: nothing is kept back.
func (h *halfClosed) Flush() {}
