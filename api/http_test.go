package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/pagetoken"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// The exact forms of the HTTP API.
func TestHTTPShapes(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	hold := func(ttl, rest string) string {
		return `{"key":"orders/42","token":"` + token1 + `","clientId":"w1","requestId":"r-7","mode":"EXCLUSIVE","slots":0,
			"ttl":"` + ttl + `","node":"a","metadata":{"why":"demo"}` + rest + `}`
	}
	wantShape(t, exchange(t, h, "POST", "/v1/locks/orders%2F42", acquireBody), 200,
		`{"hold":`+hold("10s", `,"expiresIn":"9.998s","safeFor":"10.004s"`)+`}`)

	done := make(chan *httptest.ResponseRecorder)
	go func() {
		done <- exchange(t, h, "POST", "/v1/locks/orders/42", `{"clientId":"w2","requestId":"r-9","wait":"60s"}`)
	}()
	<-node.waits
	lock := `{"key":"orders/42","partition":17,"owner":"a","epoch":59712345,"holds":[` + hold("10s", `,"expiresIn":"9.998s"`) + `],
		"waiters":[{"clientId":"w2","requestId":"r-9","mode":"EXCLUSIVE","slots":0,"waiting":"1.200s","metadata":{}}],
		"holdCount":1,"waiterCount":1}`
	wantShape(t, exchange(t, h, "GET", "/v1/locks/orders%2F42", ""), 200, `{"lock":`+lock+`}`)
	wantShape(t, exchange(t, h, "GET", "/v1/locks?prefix=orders", ""), 200, `{"locks":[`+lock+`],"nextPageToken":""}`)
	wantShape(t, exchange(t, h, "GET", "/v1/locks?prefix=none", ""), 200, `{"locks":[],"nextPageToken":"","quarantined":3}`)
	wantShape(t, exchange(t, h, "GET", "/v1/locks/orders%2F42/token/"+token1, ""), 200,
		`{"stale":false,"holds":[`+hold("10s", `,"expiresIn":"9.998s"`)+`]}`)
	wantShape(t, exchange(t, h, "POST", "/v1/locks/orders%2F42", `{"clientId":"w3","wait":"0s"}`), 409,
		`{"error":{"code":409,"reason":"LOCK_HELD","message":"lock is held by \"w1\"",
			"details":{"holds":[`+hold("10s", `,"expiresIn":"9.998s","safeFor":"10.004s"`)+`],"waiters":1}}}`)
	wantShape(t, exchange(t, h, "PATCH", "/v1/locks/orders%2F42", `{"token":"`+token1+`","ttl":"20s"}`), 200,
		`{"hold":`+hold("20s", `,"expiresIn":"9.998s","safeFor":"10.004s"`)+`}`)
	wantShape(t, exchange(t, h, "DELETE", "/v1/locks/orders%2F42?token="+token1, ""), 200,
		`{"hold":`+hold("20s", "")+`}`)
	wantShape(t, <-done, 200, `{"hold":{"key":"orders/42","token":"`+token2+`","clientId":"w2","requestId":"r-9","mode":"EXCLUSIVE",
		"slots":0,"ttl":"60s","expiresIn":"59.998s","safeFor":"60.004s","node":"a","metadata":{}}}`)

	w := exchange(t, h, "GET", "/v1/locks/orders%2F42/token/"+token1, "")
	if e := errorOf(t, w); w.Code != 412 || e.Reason != "STALE_TOKEN" || string(e.Details["stale"]) != "true" ||
		!strings.Contains(string(e.Details["holds"]), token2) {
		t.Errorf("a stale token: %d %s", w.Code, w.Body)
	}
	w = exchange(t, h, "GET", "/v1/locks/orders%2F42/token/0", "")
	if w.Code != 412 {
		t.Errorf("no token: %d %s", w.Code, w.Body)
	}
}

func TestHTTPMesh(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	wantShape(t, exchange(t, h, "GET", "/v1/mesh", ""), 200,
		`{"cluster":"sharelock","node":"b","epoch":59712345,"leader":"a","lease":{"valid":true,"remaining":"1.600s"},
		"partitions":1024,"replicas":2,"quarantined":0,"active":341,"release":1,
		"members":[{"name":"a","id":"f00","incarnation":"1-00000000000000aa","voter":true,"leaving":false,"owns":341,"backs":340,
		"http":"10.0.0.1:50051","grpc":"10.0.0.1:50052","peer":"10.0.0.1:50053","release":2}]}`)
	wantShape(t, exchange(t, h, "GET", "/v1/mesh/locate/orders%2F42", ""), 200,
		`{"key":"orders/42","partition":17,"owner":"a","backups":["c"],"epoch":59712345}`)
	wantInvalid(t, exchange(t, h, "GET", "/v1/mesh/locate/", ""), "key")

	wantShape(t, exchange(t, h, "GET", "/v1/mesh/activity?contended=10", ""), 200,
		`{"members":[{"name":"a","error":"","holds":"7","waiters":"3","longestWait":"1.200s","grants":"90","ends":"83","copiesMissing":0,"quarantined":1,
		"contended":[{"key":"orders/42","holds":1,"waiters":3,"longestWait":"1.200s"}]},
		{"name":"b","error":"it does not answer","holds":"0","waiters":"0","longestWait":"0s","grants":"0","ends":"0","copiesMissing":0,"quarantined":0,"contended":[]}]}`)
	wantInvalid(t, exchange(t, h, "GET", "/v1/mesh/activity?contended=1001", ""), "contended")
	wantInvalid(t, exchange(t, h, "GET", "/v1/mesh/activity?contended=x", ""), "contended")
	wantInvalid(t, exchange(t, h, "GET", "/v1/mesh/activity?prefix=x", ""), "prefix")
	wantShape(t, exchange(t, h, "POST", "/v1/mesh/leave", ""), 200, `{}`)
	wantShape(t, exchange(t, h, "POST", "/v1/mesh/leave", `{}`), 200, `{}`)
	wantInvalid(t, exchange(t, h, "POST", "/v1/mesh/leave", `{"force":true}`), "force")
	if node.left != 2 {
		t.Errorf("the node left %d times, want 2", node.left)
	}
}

func TestHTTPHealth(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	wantJSON(t, exchange(t, h, "GET", "/healthz", ""), 200, `{"status":"ok"}`)
	wantJSON(t, exchange(t, h, "GET", "/readyz", ""), 200, `{"status":"ready"}`)
	node.set(func(n *fakeNode) {
		n.ready = &sharelock.Error{Err: sharelock.ErrNoQuorum, Message: "lease ran out", RetryAfter: 1500 * time.Millisecond}
	})
	wantJSON(t, exchange(t, h, "GET", "/healthz", ""), 200, `{"status":"ok"}`)
	w := exchange(t, h, "GET", "/readyz", "")
	wantJSON(t, w, 503, `{"error":{"code":503,"reason":"NO_QUORUM","message":"no quorum: lease ran out","details":{"retryAfter":"1.500s"}}}`)
	if got := w.Header().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After %q, want 2", got)
	}
}

func TestHTTPForcedRelease(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	take := func() {
		t.Helper()
		for _, c := range []string{"w1", "w2"} {
			if w := exchange(t, h, "POST", "/v1/locks/k", `{"clientId":"`+c+`","mode":"SHARED"}`); w.Code != 200 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
	}
	take()
	w := exchange(t, h, "DELETE", "/v1/locks/k?force=true&reason=stuck+job", "")
	var r struct {
		Hold  *json.RawMessage
		Holds []json.RawMessage
	}
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || w.Code != 200 || r.Hold == nil || len(r.Holds) != 2 {
		t.Errorf("all: %d %s %v", w.Code, w.Body, err)
	}
	if node.reason != "stuck job" {
		t.Errorf("reason %q", node.reason)
	}
	take()
	token := fmt.Sprint(sharelock.MakeToken(59712345, 4))
	w = exchange(t, h, "DELETE", "/v1/locks/k?force=true&token="+token, "")
	if w.Code != 200 || strings.Count(w.Body.String(), `"w2"`) != 2 || strings.Contains(w.Body.String(), `"w1"`) {
		t.Errorf("one: %d %s", w.Code, w.Body)
	}
	wantInvalid(t, exchange(t, h, "DELETE", "/v1/locks/k?token=1&reason=x", ""), "reason")
	wantInvalid(t, exchange(t, h, "DELETE", "/v1/locks/k?force=yes", ""), "force")
	wantInvalid(t, exchange(t, h, "DELETE", "/v1/locks/k?force=true&reason="+strings.Repeat("x", 513), ""), "reason")
	wantInvalid(t, exchange(t, h, "DELETE", "/v1/locks/k?force=true&reason=%ff", ""), "reason")
}

func TestHTTPList(t *testing.T) {
	h := NewHTTP(newFake(), Options{}).Handler
	for _, k := range []string{"a/1", "a/2", "a/3", "b/1"} {
		exchange(t, h, "POST", "/v1/locks/"+k, `{"clientId":"c`+k[2:]+`"}`)
	}
	keys := func(query string) string {
		t.Helper()
		w := exchange(t, h, "GET", "/v1/locks"+query, "")
		var r struct {
			Locks         []struct{ Key string }
			NextPageToken string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		s := ""
		for _, l := range r.Locks {
			s += l.Key + " "
		}
		return s + "next=" + r.NextPageToken
	}
	for query, want := range map[string]string{
		"":                      "a/1 a/2 a/3 b/1 next=",
		"?prefix=a%2F":          "a/1 a/2 a/3 next=",
		"?prefix=a/&pageSize=2": "a/1 a/2 next=" + pagetoken.After("a/2"),
		"?pageSize=2&pageToken=" + pagetoken.After("a/2"): "a/3 b/1 next=",
		"?clientId=c1":                     "a/1 b/1 next=",
		"?prefix=b&clientId=c1&pageSize=0": "b/1 next=",
		"?prefix=&clientId=&pageToken=":    "a/1 a/2 a/3 b/1 next=",
		"?pageSize=1000":                   "a/1 a/2 a/3 b/1 next=",
		"?prefix=%E2%82%AC&pageToken=0001": "next=",
	} {
		if got := keys(query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	for query, field := range map[string]string{
		"?pageSize=-1":         "pageSize",
		"?pageSize=x":          "pageSize",
		"?pageSize=":           "pageSize",
		"?pageSize=1001":       "pageSize",
		"?pageSize=4294967296": "pageSize",
		"?prefx=a":             "prefx",
		"?prefix=a&prefix=b":   "prefix",
		"?prefix=%ff":          "prefix",
		"?prefix=%zz":          "query",
		"?a;b":                 "query",
	} {
		w := exchange(t, h, "GET", "/v1/locks"+query, "")
		t.Run(query, func(t *testing.T) { wantInvalid(t, w, field) })
	}
}

// Every error of the table is answered in the same form.
func TestHTTPErrors(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	for _, e := range []error{
		sharelock.ErrInvalidArgument, sharelock.ErrUnauthenticated, sharelock.ErrPermissionDenied, sharelock.ErrLockHeld,
		sharelock.ErrNotHeld, sharelock.ErrStaleToken, sharelock.ErrModeConflict, sharelock.ErrRequestOver,
		sharelock.ErrTooManyWaiters, sharelock.ErrQuota, sharelock.ErrNoQuorum, sharelock.ErrNotReady,
		sharelock.ErrQuarantined, sharelock.ErrMessageTooLarge, sharelock.ErrInternal, errors.New("boom"),
	} {
		node.set(func(n *fakeNode) { n.err = &sharelock.Error{Err: e, Message: "m", Field: "f"} })
		for _, c := range [][3]string{
			{"POST", "/v1/locks/k", `{"clientId":"c"}`},
			{"PATCH", "/v1/locks/k", `{"token":1}`},
			{"DELETE", "/v1/locks/k?token=1", ""},
			{"DELETE", "/v1/locks/k?force=true", ""},
			{"GET", "/v1/locks/k", ""},
			{"GET", "/v1/locks", ""},
			{"GET", "/v1/locks/k/token/1", ""},
			{"GET", "/v1/mesh/locate/k", ""},
			{"POST", "/v1/mesh/leave", ""},
		} {
			w := exchange(t, h, c[0], c[1], c[2])
			got := errorOf(t, w)
			if w.Code != pb.HTTPStatus(e) || got.Reason != pb.Reason(e) || string(got.Details["field"]) != `"f"` {
				t.Errorf("%s %s with %v: %d %s", c[0], c[1], e, w.Code, w.Body)
			}
			if has := w.Header().Get("Retry-After") == "1"; has != (w.Code == 503) {
				t.Errorf("%d has Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
		}
	}
}

func TestHTTPRoutesAndMethods(t *testing.T) {
	h := NewHTTP(newFake(), Options{}).Handler
	for _, path := range []string{"/", "/v1", "/v1/", "/v2/locks/k", "/v1/meshes", "/metrics", "/lock/", "/ping/x", "/v1//locks", "/healthz/"} {
		w := exchange(t, h, "GET", path, "")
		if e := errorOf(t, w); w.Code != 404 || e.Reason != "NOT_FOUND" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for path, allow := range map[string]string{
		"/v1/locks/k":           "GET, HEAD, POST, PATCH, DELETE",
		"/v1/locks/k/token/1":   "GET, HEAD, POST, PATCH, DELETE", // a key, except for GET and HEAD
		"/v1/locks":             "GET, HEAD",
		"/v1/mesh":              "GET, HEAD",
		"/v1/mesh/locate/k":     "GET, HEAD",
		"/v1/mesh/leave":        "POST",
		"/healthz":              "GET, HEAD",
		"/readyz":               "GET, HEAD",
		"/lock":                 "POST",
		"/unlock":               "POST",
		"/v1/mesh/locate/a%2Fb": "GET, HEAD",
	} {
		for _, method := range []string{"PUT", "OPTIONS", "TRACE", "BREW"} {
			w := exchange(t, h, method, path, "")
			if e := errorOf(t, w); w.Code != 405 || e.Reason != "METHOD_NOT_ALLOWED" || w.Header().Get("Allow") != allow {
				t.Errorf("%s %s: %d, Allow %q, %s", method, path, w.Code, w.Header().Get("Allow"), w.Body)
			}
		}
	}
	if w := exchange(t, h, "POST", "/v1/locks", ""); w.Code != 405 {
		t.Errorf("POST of no key: %d", w.Code)
	}
	if w := exchange(t, h, "HEAD", "/readyz", ""); w.Code != 200 {
		t.Errorf("HEAD: %d", w.Code)
	}
	wantInvalid(t, exchange(t, h, "POST", "/v1/locks/", `{"clientId":"c"}`), "key")
	wantInvalid(t, exchange(t, h, "GET", "/v1/mesh?verbose=1", ""), "verbose")
}

// The adapter distinguishes absent fields from zero ones.
func TestHTTPPresence(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	for _, c := range []struct {
		body      string
		header    string
		ttl, wait time.Duration
		client    string
	}{
		{"", "hdr", 0, sharelock.DefaultWait, "hdr"},
		{" \n", "hdr", 0, sharelock.DefaultWait, "hdr"},
		{"{}", "hdr", 0, sharelock.DefaultWait, "hdr"},
		{`{"ttl":null,"wait":null,"clientId":""}`, "hdr", 0, sharelock.DefaultWait, "hdr"},
		{`{"clientId":"body","wait":"0s"}`, "hdr", 0, 0, "body"},
		{`{"clientId":"body","ttl":"100ms","wait":"1m30s"}`, "", sharelock.MinTTL, 90 * time.Second, "body"},
		{`{"client_id":"snake","ttl":"0.1s","wait":"600s"}`, "", sharelock.MinTTL, 10 * time.Minute, "snake"},
	} {
		key := fmt.Sprintf("/v1/locks/%p", &c)
		w := exchange(t, h, "POST", key, c.body, "X-Client-Id", c.header)
		if w.Code != 200 {
			t.Errorf("%q: %d %s", c.body, w.Code, w.Body)
		}
		if r := node.last; r.TTL != c.ttl || r.Wait != c.wait || r.ClientID != c.client {
			t.Errorf("%q arrived as %+v", c.body, r)
		}
	}
	wantInvalid(t, exchange(t, h, "POST", "/v1/locks/k", ""), "clientId")
	wantInvalid(t, exchange(t, h, "PATCH", "/v1/locks/k", ""), "token")
	wantInvalid(t, exchange(t, h, "DELETE", "/v1/locks/k", ""), "token")
	if w := exchange(t, h, "POST", "/v1/locks/k", `{"clientId":"c","key":"k"}`); w.Code != 200 {
		t.Errorf("the same key twice: %d %s", w.Code, w.Body)
	}
	wantInvalid(t, exchange(t, h, "POST", "/v1/locks/k", `{"clientId":"c","key":"j"}`), "key")
	wantInvalid(t, exchange(t, h, "PATCH", "/v1/locks/k", `{"token":"1","key":"j"}`), "key")
}

// A renewal keeps the metadata if it names none, and removes it if it names empty metadata.
func TestHTTPMetadataOfARenewal(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	wantOK := func(body, want string) {
		t.Helper()
		w := exchange(t, h, "PATCH", "/v1/locks/orders%2F42", body)
		if w.Code != 200 || !strings.Contains(w.Body.String(), `"metadata":`+want+`}`) && !strings.Contains(w.Body.String(), `"metadata":`+want+`,`) {
			t.Errorf("%s: %d %s, want metadata %s", body, w.Code, w.Body, want)
		}
	}
	if w := exchange(t, h, "POST", "/v1/locks/orders%2F42", acquireBody); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	of := func(rest string) string { return `{"token":"` + token1 + `"` + rest + `}` }
	wantOK(of(`,"metadata":{"step":"3 of 7"}`), `{"step":"3 of 7"}`)
	wantOK(of(``), `{"step":"3 of 7"}`)
	wantOK(of(`,"metadata":null`), `{"step":"3 of 7"}`)
	wantOK(of(`,"metadata":{}`), `{}`)
	wantOK(of(`,"metadata":{"a":"b"}`), `{"a":"b"}`)
	wantOK(of(`,"clearMetadata":true`), `{}`)
	wantInvalid(t, exchange(t, h, "PATCH", "/v1/locks/orders%2F42", of(`,"metadata":{"a":"b"},"clearMetadata":true`)), "clearMetadata")
}

// The maximum tenure of a hold arrives at the node as it was requested.
func TestHTTPMaxHold(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	if w := exchange(t, h, "POST", "/v1/locks/k", `{"clientId":"c","maxHold":"1h30m"}`); w.Code != 200 || node.last.MaxHold != 90*time.Minute {
		t.Errorf("%d %s: %v", w.Code, w.Body, node.last.MaxHold)
	}
	for _, d := range []string{"10ms", "-1s", "9000000s"} {
		wantInvalid(t, exchange(t, h, "POST", "/v1/locks/k", `{"clientId":"c","maxHold":"`+d+`"}`), "maxHold")
	}
}

// A key reaches the node unchanged, however the path encodes it.
func TestHTTPKeysInPaths(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	for path, key := range map[string]string{
		"orders/42":        "orders/42",
		"orders%2F42":      "orders/42",
		"orders%2f42":      "orders/42",
		"a//b":             "a//b",
		"/a":               "/a",
		"a/":               "a/",
		"../../etc/passwd": "../../etc/passwd",
		"%2E%2E":           "..",
		"a%20b+c":          "a b+c",
		"a%252Fb":          "a%2Fb",
		"%C3%BC%E2%82%AC":  "ü€",
		"a%3Fb%23c":        "a?b#c",
		"a;b,c=d:e@f":      "a;b,c=d:e@f",
		"a/token/5":        "a/token/5", // only GET and HEAD read this as a check
		"a%2Ftoken%2F5":    "a/token/5",
		`a%2Ftoken%2F5"`:   `a/token/5"`, // a sloppy quote must not undo %2F
		"a%0Ab":            "a\nb",
		"token/5":          "token/5",
	} {
		if w := exchange(t, h, "POST", "/v1/locks/"+path, `{"clientId":"c"}`); w.Code != 200 || node.last.Key != key {
			t.Errorf("POST %s: %d, key %q, want %q: %s", path, w.Code, node.last.Key, key, w.Body)
			continue
		}
		token := fmt.Sprint(sharelock.MakeToken(59712345, node.counter))
		w := exchange(t, h, "GET", "/v1/locks/"+url.PathEscape(key), "")
		if w.Code != 200 || !strings.Contains(w.Body.String(), token) {
			t.Errorf("GET of %q: %d %s", key, w.Code, w.Body)
		}
		for _, raw := range []string{path, url.PathEscape(key)} {
			for _, method := range []string{"GET", "HEAD"} { // net/http drops the body of the second
				w := exchange(t, h, method, "/v1/locks/"+raw+"/token/"+token, "")
				if w.Code != 200 || !strings.Contains(w.Body.String(), `"stale":false`) || !strings.Contains(w.Body.String(), token) {
					t.Errorf("%s, check of %q as %s: %d %s", method, key, raw, w.Code, w.Body)
				}
			}
		}
		if w := exchange(t, h, "DELETE", "/v1/locks/"+path+"?token="+token, ""); w.Code != 200 {
			t.Errorf("DELETE %s: %d %s", path, w.Code, w.Body)
		}
	}
}

// A byte that should have been escaped must not turn the %2F next to it into a slash: this is a get of
// a/token/5", and not a check of a token of a.
func TestHTTPSloppyQuote(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	w := exchange(t, h, "GET", `/v1/locks/a%2Ftoken%2F5"`, "")
	if e := errorOf(t, w); e.Reason != "NOT_HELD" || node.key != `a/token/5"` {
		t.Errorf("%d %s, the node saw %q", w.Code, w.Body, node.key)
	}
}

func TestHTTPPanics(t *testing.T) {
	node := newFake()
	var log strings.Builder
	h := NewHTTP(node, Options{Logger: testLogger(&log)}).Handler
	node.set(func(n *fakeNode) { n.hook = func() { panic("secret detail") } })
	w := exchange(t, h, "GET", "/v1/locks/k", "")
	if e := errorOf(t, w); w.Code != 500 || e.Reason != "INTERNAL" || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "secret detail") || !strings.Contains(got, "fake_test.go") {
		t.Errorf("log: %s", got)
	}
	node.set(func(n *fakeNode) { n.hook = func() { panic(http.ErrAbortHandler) } })
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("recovered %v", p)
		}
	}()
	exchange(t, h, "GET", "/v1/locks/k", "")
}

// After the answer has begun, a panic can only close the connection.
func TestHTTPPanicInTheMiddle(t *testing.T) {
	s := &httpAPI{log: Options{}.logger(), writeTimeout: time.Second}
	h := s.guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		panic("x")
	}))
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("recovered %v", p)
		}
	}()
	exchange(t, h, "GET", "/", "")
}

func TestHTTPInternalErrorsAreLogged(t *testing.T) {
	node := newFake()
	var log strings.Builder
	h := NewHTTP(node, Options{Logger: testLogger(&log)}).Handler
	node.set(func(n *fakeNode) { n.err = errors.New("odd state") })
	if w := exchange(t, h, "GET", "/v1/locks/k", ""); w.Code != 500 || !strings.Contains(log.String(), "odd state") {
		t.Errorf("%d, log %q", w.Code, log.String())
	}
	log.Reset()
	node.set(func(n *fakeNode) { n.err = sharelock.ErrNotHeld })
	if exchange(t, h, "GET", "/v1/locks/k", ""); log.Len() > 0 {
		t.Errorf("a usual error is in the log: %s", log.String())
	}
}
