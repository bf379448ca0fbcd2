package api

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// The messages of the original API, byte for byte.
func TestLegacyWireBytes(t *testing.T) {
	for _, c := range []struct {
		m    proto.Message
		wire string
	}{
		{&original.ShareLockPingRequest{Message: "ping"}, "0a0470696e67"},
		{&original.ShareLockPingResponse{Message: "pong"}, "0a04706f6e67"},
		{&original.LockRequest{Key: "k", TimeoutMs: 1000}, "0a016b10e807"},
		{&original.LockRequest{Key: "k", TimeoutMs: -1}, "0a016b10ffffffffffffffffff01"},
		{&original.UnlockRequest{Key: "k"}, "0a016b"},
		{&original.LockResponse{Status: original.Status_Unknown}, ""},
		{&original.LockResponse{Status: original.Status_Acquired}, "0801"},
		{&original.LockResponse{Status: original.Status_NotAcquired}, "0802"},
		{&original.UnlockResponse{Status: original.Status_Released}, "0803"},
		{&original.LockResponse{Status: original.Status_Timeout}, "0804"},
		{&original.UnlockResponse{Status: original.Status_UnknownLock}, "0805"},
		{&original.LockResponse{Status: original.Status_InvalidData}, "0806"},
	} {
		got, err := proto.Marshal(c.m)
		if err != nil || hex.EncodeToString(got) != c.wire {
			t.Errorf("%v: %x, %v, want %s", c.m, got, err, c.wire)
		}
	}
	if got := original.ShareLockService_Lock_FullMethodName; got != "/sharelock.ShareLockService/Lock" {
		t.Errorf("method %s", got)
	}
}

func TestLegacyHTTP(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{MaxWait: 10 * time.Minute}).Handler
	me := []string{"X-Client-Id", "c1"}
	for _, c := range []struct {
		method, path, body string
		headers            []string
		status             int
		want               string // "" is an error body
	}{
		{"GET", "/ping", "", nil, 200, `{"message":"pong"}`},
		{"POST", "/ping", `{"message":"ping"}`, nil, 200, `{"message":"pong"}`},
		{"BREW", "/ping", "not json", nil, 200, `{"message":"pong"}`},
		{"POST", "/lock", `{"key":"k","timeoutMs":1000}`, me, 200, `{"status":1}`},
		{"POST", "/lock", `{"key":"k","timeoutMs":1}`, me, 408, `{"status":4}`}, // not reentrant
		{"POST", "/unlock", `{"key":"k"}`, []string{"X-Client-Id", "c2"}, 404, `{"status":5}`},
		{"POST", "/unlock", `{"key":"other"}`, me, 404, `{"status":5}`},
		{"POST", "/unlock", `{"key":"k"}`, me, 200, `{"status":3}`},
		{"POST", "/unlock", `{"key":"k"}`, me, 404, `{"status":5}`},
		{"POST", "/lock", `{"key":"k"}`, nil, 200, `{"status":6}`},
		{"POST", "/lock", `{}`, me, 200, `{"status":6}`},
		{"POST", "/lock", `{"key":"` + strings.Repeat("k", 513) + `"}`, me, 200, `{"status":6}`},
		{"POST", "/unlock", `{"key":"k"}`, nil, 200, `{"status":6}`},
		{"POST", "/unlock", `{}`, me, 200, `{"status":6}`},
		{"POST", "/lock", `{"key":"u","unknown":[1]} trailing`, me, 200, `{"status":1}`}, // as encoding/json's decoder
		{"POST", "/lock", `{"key":`, me, 400, ""},
		{"POST", "/lock", ``, me, 400, ""},
		{"POST", "/lock", `{"key":"k","timeoutMs":2147483648}`, me, 400, ""},
		{"POST", "/unlock", `[]`, me, 400, ""},
		{"GET", "/lock", "", me, 405, ""},
		{"PUT", "/unlock", `{"key":"k"}`, me, 405, ""},
	} {
		w := exchange(t, h, c.method, c.path, c.body, c.headers...)
		if c.want != "" {
			wantJSON(t, w, c.status, c.want)
		} else if errorOf(t, w); w.Code != c.status {
			t.Errorf("%s %s %s: %d, want %d", c.method, c.path, c.body, w.Code, c.status)
		}
	}
}

func TestLegacyHTTPErrors(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	for _, c := range []struct {
		err          error
		lock, unlock int
	}{
		{sharelock.ErrNoQuorum, 503, 503},
		{sharelock.ErrQuarantined, 503, 503},
		{sharelock.ErrModeConflict, 409, 409},
		{sharelock.ErrTooManyWaiters, 429, 429},
		{errors.New("boom"), 500, 500},
	} {
		node.set(func(n *fakeNode) { n.err = c.err })
		for path, want := range map[string]int{"/lock": c.lock, "/unlock": c.unlock} {
			w := exchange(t, h, "POST", path, `{"key":"k"}`, "X-Client-Id", "c1")
			st := map[string]string{"/lock": `{"status":2,"error":`, "/unlock": `{"status":0,"error":`}[path]
			if w.Code != want || !strings.HasPrefix(w.Body.String(), st) {
				t.Errorf("%s with %v: %d %s", path, c.err, w.Code, w.Body)
			}
			if (w.Header().Get("Retry-After") != "") != (want == 503) {
				t.Errorf("%s with %v: Retry-After %q", path, c.err, w.Header().Get("Retry-After"))
			}
		}
	}
}

// timeoutMs becomes the wait. The node chooses the TTL and the request id.
func TestLegacyWait(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{MaxWait: time.Minute}).Handler
	for body, want := range map[string]time.Duration{
		`{"key":"a","timeoutMs":1500}`:       1500 * time.Millisecond,
		`{"key":"b","timeoutMs":60001}`:      time.Minute,
		`{"key":"c","timeoutMs":2147483647}`: time.Minute,
		`{"key":"d","timeoutMs":0}`:          sharelock.DefaultWait,
		`{"key":"e","timeoutMs":-5}`:         sharelock.DefaultWait,
		`{"key":"f"}`:                        sharelock.DefaultWait,
	} {
		exchange(t, h, "POST", "/lock", body, "X-Client-Id", "c1")
		if r := node.last; r.Wait != want || r.TTL != 0 || r.RequestID != "" || r.ClientID != "c1" {
			t.Errorf("%s arrived as %+v", body, r)
		}
	}
}

func TestLegacyGRPC(t *testing.T) {
	node := newFake()
	c := original.NewShareLockServiceClient(dialFake(t, node, Options{MaxWait: time.Minute}).conn)
	as := func(id string) (ctx []string) { return []string{"x-client-id", id} }
	lock := func(key string, ms int32, md ...string) (original.Status, error) {
		r, err := c.Lock(metadata.AppendToOutgoingContext(t.Context(), md...), &original.LockRequest{Key: key, TimeoutMs: ms})
		return r.GetStatus(), err
	}
	unlock := func(key string, md ...string) (original.Status, error) {
		r, err := c.Unlock(metadata.AppendToOutgoingContext(t.Context(), md...), &original.UnlockRequest{Key: key})
		return r.GetStatus(), err
	}
	check := func(what string, got original.Status, err error, want original.Status, code codes.Code) {
		t.Helper()
		if got != want || status.Code(err) != code {
			t.Errorf("%s: %v, %v; want %v, %v", what, got, err, want, code)
		}
	}
	if r, err := c.Ping(t.Context(), &original.ShareLockPingRequest{Message: "x"}); err != nil || r.GetMessage() != "pong" {
		t.Errorf("ping: %v, %v", r, err)
	}
	st, err := lock("k", 1000, as("c1")...)
	check("lock", st, err, original.Status_Acquired, codes.OK)
	st, err = lock("k", 1, as("c2")...)
	check("held lock", st, err, original.Status_Timeout, codes.OK)
	st, err = unlock("k", as("c2")...)
	check("unlock by another", st, err, original.Status_UnknownLock, codes.OK)
	st, err = unlock("k", as("c1")...)
	check("unlock", st, err, original.Status_Released, codes.OK)
	st, err = unlock("k", as("c1")...)
	check("unlock again", st, err, original.Status_UnknownLock, codes.OK)
	st, err = lock("", 1, as("c1")...)
	check("lock of no key", st, err, 0, codes.InvalidArgument)
	st, err = unlock("", as("c1")...)
	check("unlock of no key", st, err, 0, codes.InvalidArgument)
	st, err = lock("k", 1)
	check("lock by nobody", st, err, original.Status_InvalidData, codes.OK)
	st, err = unlock("k")
	check("unlock by nobody", st, err, original.Status_InvalidData, codes.OK)
	node.set(func(n *fakeNode) { n.err = sharelock.ErrNotReady })
	st, err = lock("k", 1, as("c1")...)
	check("lock when not ready", st, err, 0, codes.Unavailable)
}
