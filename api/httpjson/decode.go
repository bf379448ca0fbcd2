package httpjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Decode decodes a JSON body into m. An empty body does not change m. An error names the
// invalid field.
func Decode(body []byte, m proto.Message) error {
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

// NamedAsWritten returns the error with its field named as the caller has written it: in
// lowerCamelCase, unless the body uses the proto name, which proto3 JSON also allows.
func NamedAsWritten(err error, body []byte) error {
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
