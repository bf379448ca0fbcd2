// Package httpjson is the JSON of the HTTP API: proto3 JSON, in the form that this API promises. It
// turns bodies into messages, and messages, errors and events into bytes. It has no state and does
// no I/O.
//
// A body may have durations in the form of the command line, and what is wrong with it is told with
// the name of the field, as its caller has written it. Equal answers are equal bytes. What is
// answered often is encoded without reflection, to the same bytes.
package httpjson
