// Package event has the events of watches together with their encoded forms, so that a node encodes
// an event once for all who follow it.
package event

import (
	"sync/atomic"

	"github.com/sgkandale/sharelock"
)

// A Form is a way to encode events.
type Form int

// The forms.
const (
	Stream  Form = iota // a server-sent event
	Message             // a sharelockv1.WatchEvent
	forms
)

// An Event is an event on its way to those who watch. It is shared by all of them and must not be
// changed.
type Event struct {
	*sharelock.Event
	shared  bool
	encoded [forms]atomic.Pointer[[]byte]
}

// New returns an event for one watch.
func New(e *sharelock.Event) *Event { return &Event{Event: e} }

// Shared returns an event for several watches. Its forms are kept.
func Shared(e *sharelock.Event) *Event { return &Event{Event: e, shared: true} }

// Append appends a form of the event. encode appends it if it is not known yet.
func (e *Event) Append(b []byte, f Form, encode func([]byte, *sharelock.Event) []byte) []byte {
	if !e.shared {
		return encode(b, e.Event)
	}
	return append(b, e.form(f, encode)...)
}

// Form returns a form of the event, which must not be changed.
func (e *Event) Form(f Form, encode func([]byte, *sharelock.Event) []byte) []byte {
	if !e.shared {
		return encode(nil, e.Event)
	}
	return e.form(f, encode)
}

// form returns a form that is kept. Two that need it at the same moment both encode it.
func (e *Event) form(f Form, encode func([]byte, *sharelock.Event) []byte) []byte {
	if data := e.encoded[f].Load(); data != nil {
		return *data
	}
	data := encode(nil, e.Event)
	e.encoded[f].Store(&data)
	return data
}
