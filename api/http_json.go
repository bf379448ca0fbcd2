package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
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
		done(r.Context(), m, err)
		s.answer(w, r, body, m, err)
	}
}

// callHalf is like call, for requests that may wait in a queue. A caller that disconnects cancels
// its request. If the caller has closed only its half of the connection, the request is made once
// more, and is canceled only if it has to wait.
func (s *httpAPI) callHalf(f func(*http.Request, []byte) (proto.Message, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(w, r)
		if err != nil {
			s.fail(w, r, err, nil)
			return
		}
		m, err := f(r, body)
		if errors.Is(err, context.Canceled) {
			if half := probeHalfClosed(w, r); half != nil {
				defer half.close()
				w = half
				m, err = f(r.WithContext(unlessItWaits(r.Context())), body)
			}
		}
		done(r.Context(), m, err)
		s.answer(w, r, body, m, err)
	}
}

// answer sends the result of a call.
func (s *httpAPI) answer(w http.ResponseWriter, r *http.Request, body []byte, m proto.Message, err error) {
	if err != nil {
		s.fail(w, r, namedAsWritten(err, body), m)
		return
	}
	data, err := encode(m)
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
		w.Header().Set("Connection", "close") // instead of reading all of it
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

// decodeBody decodes a JSON body into m. An empty body does not change m. An error names the
// invalid field.
func decodeBody(body []byte, m proto.Message) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	err := protojson.Unmarshal(body, m)
	if err == nil {
		return nil
	}
	if other, ok := withSeconds(body, m.ProtoReflect().Descriptor()); ok {
		proto.Reset(m)
		if err = protojson.Unmarshal(other, m); err == nil {
			return nil
		}
	}
	// protojson varies the space after its prefix so that programs do not compare texts.
	text := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
	return sharelock.Invalid(wrongField(body, m.ProtoReflect().Type()), text)
}

// withSeconds returns a body in which durations in the form of the command line ("100ms", "1m") are
// replaced by the seconds of proto3 JSON. It reports whether there were any.
func withSeconds(body []byte, message protoreflect.MessageDescriptor) (_ []byte, changed bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, false
	}
	out := []byte("{")
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return nil, false
		}
		field := message.Fields().ByJSONName(name)
		if field == nil {
			field = message.Fields().ByTextName(name)
		}
		other := secondsOf(field, value)
		changed = changed || !bytes.Equal(other, value)
		if len(out) > 1 {
			out = append(out, ',')
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, false
		}
		out = append(append(append(out, quoted...), ':'), other...)
	}
	if _, err := d.Token(); err != nil {
		return nil, false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, false // there is data after the object
	}
	return append(out, '}'), changed
}

// secondsOf returns the value of a field. It converts a duration in another form to seconds.
func secondsOf(field protoreflect.FieldDescriptor, value json.RawMessage) json.RawMessage {
	var text string
	if field == nil || field.Message() == nil || field.Message().FullName() != "google.protobuf.Duration" ||
		json.Unmarshal(value, &text) != nil {
		return value
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		return value
	}
	return encodeDuration(durationpb.New(duration))
}

// namedAsWritten returns the error with its field named as the caller has written it: in
// lowerCamelCase, unless the body uses the proto name, which proto3 JSON also allows.
func namedAsWritten(err error, body []byte) error {
	e, ok := errors.AsType[*sharelock.Error](err)
	if !ok || !strings.Contains(e.Field, "_") || bytes.Contains(body, []byte(`"`+e.Field+`"`)) {
		return err
	}
	words := strings.Split(e.Field, "_")
	for i, w := range words[1:] {
		if w != "" {
			words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	named := *e
	named.Field = strings.Join(words, "")
	return &named
}

// wrongField returns the first field that protojson rejects, or "body" if it rejects none of them.
func wrongField(body []byte, t protoreflect.MessageType) string {
	const none = "body"
	d := json.NewDecoder(bytes.NewReader(body))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return none
	}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return none
		}
		fields := t.Descriptor().Fields()
		field := fields.ByJSONName(name)
		if field == nil {
			field = fields.ByTextName(name)
		}
		if field == nil {
			return name
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return name
		}
		value = secondsOf(field, value)
		alone := fmt.Appendf(nil, `{%q:%s}`, field.JSONName(), value)
		if protojson.Unmarshal(alone, t.New().Interface()) != nil {
			return name
		}
	}
	return none
}

// encode returns the JSON of an answer. It contains zero fields, but not absent messages.
func encode(m proto.Message) ([]byte, error) {
	if data, ok := encodeHold(m); ok {
		return data, nil
	}
	return encodeAny(m)
}

func encodeAny(m proto.Message) ([]byte, error) {
	data, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: encode %s: %w", sharelock.ErrInternal, m.ProtoReflect().Descriptor().Name(), err)
	}
	// protojson varies its spaces, but equal answers should be equal bytes.
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		return nil, fmt.Errorf("%w: compact: %w", sharelock.ErrInternal, err)
	}
	return out.Bytes(), nil
}

// errorBody is the value in {"error":…}.
type errorBody struct {
	Code    int                        `json:"code"`
	Reason  string                     `json:"reason"`
	Message string                     `json:"message"`
	Details map[string]json.RawMessage `json:"details"`
}

// describe returns the body of an error. Its details are the fields of the gRPC status's details
// and of more, which may be nil.
func describe(err error, more proto.Message) errorBody {
	st := pb.ToStatus(err)
	b := errorBody{
		Code:    pb.HTTPStatus(err),
		Reason:  pb.Reason(err),
		Message: st.Message(),
		Details: map[string]json.RawMessage{},
	}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if field := d.GetMetadata()["field"]; field != "" {
				b.Details["field"], _ = json.Marshal(field) // a string can always be encoded
			}
		case *errdetails.RetryInfo:
			b.Details["retryAfter"] = encodeDuration(d.GetRetryDelay())
		case *pb.LockHeldDetail:
			b.add(d)
		}
	}
	if more != nil {
		b.add(more)
	}
	return b
}

// add adds the fields of m to the details. It drops a message that cannot be encoded, which must
// not hide the error.
func (b *errorBody) add(m proto.Message) {
	if data, err := encode(m); err == nil {
		_ = json.Unmarshal(data, &b.Details) // encode has made valid JSON
	}
}

func encodeDuration(d *durationpb.Duration) json.RawMessage {
	data, err := encode(d)
	if err != nil {
		return json.RawMessage("null")
	}
	return data
}

// fail answers with an error; see describe for more.
func (s *httpAPI) fail(w http.ResponseWriter, r *http.Request, err error, more proto.Message) {
	s.logFailure(r, err)
	outcome(w, err)
	body := describe(err, more)
	s.failWith(w, err, body.Code, struct {
		Error errorBody `json:"error"`
	}{body})
}

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
