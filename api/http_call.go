package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/api/halfclosed"
	"github.com/sgkandale/sharelock/api/httpjson"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/proto"
)

// call makes a handler of f, a function from request and body to answer. If f returns both a
// message and an error, the message becomes the error's details.
func (s *httpAPI) call(f func(*http.Request, []byte) (proto.Message, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(w, r)
		if err != nil {
			s.fail(w, r, err, nil)
			return
		}
		m, err := f(r, body)
		gate.Done(r.Context(), m, err)
		s.answer(w, r, body, m, err)
	}
}

// callHalf is like call, for requests that may wait in a queue. A caller that disconnects cancels
// its request. If the caller has closed only its half of the connection, the request is made once
// more, and is cancelled only if it has to wait.
func (s *httpAPI) callHalf(f func(*http.Request, []byte) (proto.Message, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(w, r)
		if err != nil {
			s.fail(w, r, err, nil)
			return
		}
		m, err := f(r, body)
		if errors.Is(err, context.Canceled) {
			s.halves.Add(1)
			defer s.halves.Done()
			if half := halfclosed.Probe(w, r); half != nil {
				defer half.Close()
				w = half
				m, err = f(r.WithContext(halfclosed.UnlessItWaits(r.Context())), body)
			}
		}
		gate.Done(r.Context(), m, err)
		s.answer(w, r, body, m, err)
	}
}

// answer sends the result of a call.
func (s *httpAPI) answer(w http.ResponseWriter, r *http.Request, body []byte, m proto.Message, err error) {
	if err != nil {
		s.fail(w, r, httpjson.NamedAsWritten(err, body), m)
		return
	}
	data, err := httpjson.Encode(m)
	if err != nil {
		s.fail(w, r, err, nil)
		return
	}
	// The context must not be checked here: it also ends when a client that has received its
	// answer closes the connection.
	if !s.write(w, http.StatusOK, data) {
		s.undelivered(r, body, m)
	}
}

// callThrough is like call, for requests that never wait in a queue. They are served even if the
// connection appears closed, because the caller may have closed only its half and may read the
// answer. The node bounds their time.
func (s *httpAPI) callThrough(f func(*http.Request, []byte) (proto.Message, error)) http.HandlerFunc {
	return s.call(func(r *http.Request, body []byte) (proto.Message, error) {
		return f(r.WithContext(context.WithoutCancel(r.Context())), body)
	})
}

// undelivered releases a grant whose answer could not be sent. If the request had a request id, the
// grant stays for the retry.
func (s *httpAPI) undelivered(r *http.Request, body []byte, m proto.Message) {
	granted, ok := m.(*pb.AcquireResponse)
	if !ok {
		return
	}
	asked := &pb.AcquireRequest{}
	if _, err := decodeCall(r, body, asked); err == nil && asked.GetRequestId() == "" {
		takeBack(s.locks.node, pb.HoldFromProto(granted.GetHold()))
	}
}

// readBody reads the whole body, even if none is expected: net/http detects that a caller has gone
// only after the body was read.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > sharelock.MaxBodyBytes {
		w.Header().Set("Connection", "close") // instead of reading the rest
		return nil, bodyTooLarge()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, sharelock.MaxBodyBytes))
	if err != nil {
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			return nil, bodyTooLarge()
		}
		return nil, sharelock.Invalid("body", "did not arrive whole and in time")
	}
	return body, nil
}

func bodyTooLarge() error {
	return &sharelock.Error{
		Err:     sharelock.ErrMessageTooLarge,
		Message: fmt.Sprintf("the most is %d bytes", sharelock.MaxBodyBytes),
	}
}

// fail answers with an error; see describe for more.
func (s *httpAPI) fail(w http.ResponseWriter, r *http.Request, err error, more proto.Message) {
	s.logFailure(r, err)
	outcome(w, err)
	body := httpjson.Describe(err, more)
	s.failWith(w, err, body.Code, struct {
		Error httpjson.Error `json:"error"`
	}{body})
}

// refuse answers a request that does not pass the gate.
func (s *httpAPI) refuse(w http.ResponseWriter, r *http.Request, err error) { s.fail(w, r, err, nil) }

// failWith answers an error with any body. It reports whether the answer was sent.
func (s *httpAPI) failWith(w http.ResponseWriter, err error, status int, body any) bool {
	data, merr := json.Marshal(body)
	if merr != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":{"code":500,"reason":"INTERNAL","message":"","details":{}}}`)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	var e *sharelock.Error
	later := status == http.StatusTooManyRequests && errors.As(err, &e) && e.RetryAfter > 0
	if status == http.StatusServiceUnavailable || later {
		// Whole seconds, rounded up, because an early retry would fail.
		seconds := max(1, (pb.RetryAfter(err)+time.Second-1)/time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	return s.write(w, status, data)
}

func (s *httpAPI) logFailure(r *http.Request, err error) {
	logInternal(s.log, r.Method+" "+r.URL.Path, err)
}

// write sends an answer. It bounds the time for that itself, because the server's WriteTimeout
// would include the wait for the lock. It reports whether the system has accepted the answer;
// whether the client receives it cannot be known here.
func (s *httpAPI) write(w http.ResponseWriter, status int, body []byte) bool {
	// Not every ResponseWriter has deadlines, or can be flushed.
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(s.writeTimeout))
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		return false
	}
	err := rc.Flush()
	if err == nil {
		// This deadline must not apply to the next request on this connection.
		_ = rc.SetWriteDeadline(time.Time{})
	}
	return err == nil || errors.Is(err, http.ErrNotSupported)
}
