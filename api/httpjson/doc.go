// Package httpjson is the JSON of the HTTP API: proto3 JSON, in the form that this API promises. It
// turns bodies into messages, and messages, errors and events into bytes. It has no state and does
// no I/O.
//
// A body may have durations in the form of the command line. An error in it names the field as its
// caller has written it. Equal answers are equal bytes. Frequent answers are encoded without
// reflection, to the same bytes.
package httpjson
