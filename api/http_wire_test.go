package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/api/httpjson"
)

// exchange sends one request directly to the handler. The target is in raw form, as on the wire. Headers
// come in pairs.
func exchange(t testing.TB, h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://node"+target, strings.NewReader(body))
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	checkDescribed(t, r, body, w)
	return w
}

// wantJSON compares the status and the whole body, regardless of the order of fields.
func wantJSON(t testing.TB, w *httptest.ResponseRecorder, status int, want string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, want %d; body %s", w.Code, status, w.Body)
	}
	var got, exp any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Errorf("body %q: %v", w.Body, err)
	}
	if err := json.Unmarshal([]byte(want), &exp); err != nil {
		t.Fatalf("the test's JSON %q: %v", want, err)
	}
	if !reflect.DeepEqual(got, exp) {
		t.Errorf("body\n %s\nwant\n %s", w.Body, want)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
}

// wantShape is wantJSON for the promised forms: all promised fields are there and correct; others may have
// been added.
func wantShape(t testing.TB, w *httptest.ResponseRecorder, status int, want string) {
	t.Helper()
	var got, exp any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Errorf("body %q: %v", w.Body, err)
	}
	if err := json.Unmarshal([]byte(want), &exp); err != nil {
		t.Fatalf("the test's JSON %q: %v", want, err)
	}
	if w.Code != status || !contains(got, exp) {
		t.Errorf("status %d, body\n %s\nwant %d and at least\n %s", w.Code, w.Body, status, want)
	}
}

// contains reports whether got has every field of want, at every depth.
func contains(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		for name, value := range want {
			ok = ok && contains(got[name], value)
		}
		return ok
	case []any:
		got, ok := got.([]any)
		ok = ok && len(got) == len(want)
		for i := 0; ok && i < len(want); i++ {
			ok = contains(got[i], want[i])
		}
		return ok
	default:
		return reflect.DeepEqual(got, want)
	}
}

// errorOf decodes an error body and checks its form.
func errorOf(t testing.TB, w *httptest.ResponseRecorder) httpjson.Error {
	t.Helper()
	var b struct {
		Error *httpjson.Error `json:"error"`
	}
	d := json.NewDecoder(strings.NewReader(w.Body.String()))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil || b.Error == nil {
		t.Fatalf("status %d, body %q is not an error: %v", w.Code, w.Body, err)
	}
	if b.Error.Code != w.Code || b.Error.Reason == "" || b.Error.Message == "" || b.Error.Details == nil {
		t.Errorf("status %d, incomplete error %s", w.Code, w.Body)
	}
	return *b.Error
}

// wantInvalid checks for an INVALID_ARGUMENT that names the field.
func wantInvalid(t testing.TB, w *httptest.ResponseRecorder, field string) {
	t.Helper()
	e := errorOf(t, w)
	want, _ := json.Marshal(field)
	if w.Code != 400 || e.Reason != "INVALID_ARGUMENT" || string(e.Details["field"]) != string(want) {
		t.Errorf("got %d %s, want 400 INVALID_ARGUMENT naming %s", w.Code, w.Body, field)
	}
}

const (
	token1 = "256462568942469121" // epoch 59712345, counter 1
	token2 = "256462568942469122"
)

const acquireBody = `{"clientId":"w1","requestId":"r-7","ttl":"10s","wait":"5s","mode":"EXCLUSIVE","metadata":{"why":"demo"}}`
