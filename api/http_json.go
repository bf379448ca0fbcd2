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

// call makes a handler of a function from request and body to answer. A message
// that comes with an error are the error's details.
func (s *httpAPI) call(f func(*http.Request, []byte) (proto.Message, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(w, r)
		if err != nil {
			s.fail(w, r, err, nil)
			return
		}
		m, err := f(r, body)
		s.answer(w, r, body, m, err)
	}
}

// callHalf is like call, for requests that may wait in a queue. A caller that disconnects cancels its
// request. If the caller has closed only its half of the connection, the request is made once more, and is
// canceled only if it has to wait.
func (s *httpAPI) callHalf(f func(*http.Request, []byte) (proto.Message, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(w, r)
		if err != nil {
			s.fail(w, r, err, nil)
			return
		}
		m, err := f(r, body)
		if errors.Is(err, context.Canceled) {
			if half := stillListens(w, r); half != nil {
				defer half.close()
				w = half
				m, err = f(r.WithContext(unlessItWaits(r.Context())), body)
			}
		}
		s.answer(w, r, body, m, err)
	}
}

// answer sends what came of a call.
func (s *httpAPI) answer(w http.ResponseWriter, r *http.Request, body []byte, m proto.Message, err error) {
	if err != nil {
		s.fail(w, r, asWritten(err, body), m)
		return
	}
	data, err := encode(m)
	if err != nil {
		s.fail(w, r, err, nil)
		return
	}
	// The context is of no use now: it also ends when a client that has its answer closes
	// the connection.
	if !s.write(w, http.StatusOK, data) {
		s.undelivered(r, body, m)
	}
}

// callThrough is call for what does not wait in line: it is served though its caller has
// closed the connection, perhaps only its half of it, and would read the answer. The node
// bounds its time.
func (s *httpAPI) callThrough(f func(*http.Request, []byte) (proto.Message, error)) http.HandlerFunc {
	return s.call(func(r *http.Request, body []byte) (proto.Message, error) {
		return f(r.WithContext(context.WithoutCancel(r.Context())), body)
	})
}

// undelivered takes a grant back whose answer did not reach its caller, unless that has made
// a request id: then the grant stays for the retry.
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

// readBody reads all of the body, also where none is expected: net/http notices
// that a caller went away only once its body was read.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > sharelock.MaxBodyBytes {
		w.Header().Set("Connection", "close") // rather than read it all
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

// decodeBody reads a JSON body into m; an empty one leaves m as it is. The error
// names the field that is wrong.
func decodeBody(body []byte, m proto.Message) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	err := protojson.Unmarshal(body, m)
	if err == nil {
		return nil
	}
	if other, ok := inSeconds(body, m.ProtoReflect().Descriptor()); ok {
		proto.Reset(m)
		if err = protojson.Unmarshal(other, m); err == nil {
			return nil
		}
	}
	// protojson varies the space after its prefix, so that nobody compares texts.
	text := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
	return sharelock.Invalid(wrongField(body, m.ProtoReflect().Type()), text)
}

// inSeconds is a body whose durations are in the seconds of proto3's JSON, where they were
// as in the command line, "100ms" or "1m". It reports whether there were any.
func inSeconds(body []byte, message protoreflect.MessageDescriptor) (_ []byte, changed bool) {
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
		return nil, false // something follows
	}
	return append(out, '}'), changed
}

// secondsOf is the value of a field, in seconds if it is another form of a duration.
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

// asWritten names the field of an error as the caller has written it: as in JSON, unless the
// body has it in the other form that proto3's JSON allows.
func asWritten(err error, body []byte) error {
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

// wrongField finds the first field that protojson does not take; "body" when it
// is none of them.
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

// encode is the JSON of an answer. Fields that are zero are there; only absent
// messages are not.
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
	// protojson varies its spaces; equal answers should be equal bytes.
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		return nil, fmt.Errorf("%w: compact: %w", sharelock.ErrInternal, err)
	}
	return out.Bytes(), nil
}

// errorBody is the inside of {"error":…}.
type errorBody struct {
	Code    int                        `json:"code"`
	Reason  string                     `json:"reason"`
	Message string                     `json:"message"`
	Details map[string]json.RawMessage `json:"details"`
}

// describe is the body of an error: the details are those of the gRPC status,
// without their wrappings, and the fields of more, if there is one.
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
				b.Details["field"], _ = json.Marshal(field) // a string always can
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

// add puts the fields of m among the details. What cannot be encoded is left
// out: it must not take the error's place.
func (b *errorBody) add(m proto.Message) {
	if data, err := encode(m); err == nil {
		_ = json.Unmarshal(data, &b.Details) // what encode made
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
	body := describe(err, more)
	s.failWith(w, err, body.Code, struct {
		Error errorBody `json:"error"`
	}{body})
}

// failWith answers with a body that may be another than the usual. It reports whether the
// answer was sent.
func (s *httpAPI) failWith(w http.ResponseWriter, err error, status int, body any) bool {
	data, merr := json.Marshal(body)
	if merr != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":{"code":500,"reason":"INTERNAL","message":"","details":{}}}`)
	}
	if status == http.StatusServiceUnavailable {
		// Whole seconds, rounded up: retrying early is pointless.
		seconds := max(1, (pb.RetryAfter(err)+time.Second-1)/time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	return s.write(w, status, data)
}

func (s *httpAPI) logFailure(r *http.Request, err error) {
	logInternal(s.log, r.Method+" "+r.URL.Path, err)
}

// write sends an answer. The time it may take is bounded here and not by the
// server's WriteTimeout, which would count the wait for the lock too. It reports whether the
// answer was handed to the system: whether it reached the client, nobody here can know.
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
		// The next request on this connection must not meet this deadline.
		_ = rc.SetWriteDeadline(time.Time{})
	}
	return err == nil || errors.Is(err, http.ErrNotSupported)
}
