package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/quota"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc/metadata"
)

// limited returns an authority with one principal that has limits, and its token.
func limited(t *testing.T, limits string) (a *auth.Authority, token string) {
	t.Helper()
	token, stored := auth.NewToken()
	file := filepath.Join(t.TempDir(), "auth.yaml")
	text := "policies:\n  all: [{keys: [\"\"], verbs: [acquire, read]}]\nprincipals:\n" +
		"  - {name: ci, policies: [all], tokens: [\"" + stored + "\"], " + limits + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := auth.Open(auth.Config{File: file, AllowPlaintextTokens: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return a, token
}

// Above its calls per second a principal gets 429, which the audit log records. Calls that keep or release
// a lock do not count, so the quota does not cost a lock.
func TestCallsPerSecond(t *testing.T) {
	a, token := limited(t, "max_calls_per_second: 2")
	now := time.Duration(0)
	file := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(audit.Config{File: file, Node: "n"})
	if err != nil {
		t.Fatal(err)
	}
	h := NewHTTP(newFake(), Options{Auth: a, Audit: log, Quotas: quota.New(func() time.Duration { return now })}).Handler
	call := func(method, path, body string) *httptest.ResponseRecorder {
		return exchange(t, h, method, path, body, "Authorization", "Bearer "+token)
	}
	w := call("POST", "/v1/locks/k", `{"clientId":"c","ttl":"10s","wait":"0s"}`)
	var got struct{ Hold struct{ Token string } }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Hold.Token == "" {
		t.Fatalf("acquire: %d %s", w.Code, w.Body)
	}
	if w := call("GET", "/v1/locks/k", ""); w.Code != http.StatusOK {
		t.Fatalf("get: %d %s", w.Code, w.Body)
	}
	for range 3 {
		w := call("GET", "/v1/locks/k", "")
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "max_calls_per_second") {
			t.Errorf("a call too many: %d, Retry-After %q, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		if w := call("PATCH", "/v1/locks/k", `{"token":"`+got.Hold.Token+`"}`); w.Code != http.StatusOK {
			t.Errorf("a renewal: %d %s", w.Code, w.Body)
		}
	}
	if w := call("DELETE", "/v1/locks/k?token="+got.Hold.Token, ""); w.Code != http.StatusOK {
		t.Errorf("a release: %d %s", w.Code, w.Body)
	}
	now += time.Second
	if w := call("GET", "/v1/locks", ""); w.Code != http.StatusOK {
		t.Errorf("a second later: %d %s", w.Code, w.Body)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if n := strings.Count(string(text), `"result":"denied"`); err != nil || n != 3 || !strings.Contains(string(text), `"principal":"ci"`) {
		t.Errorf("the audit log has %d denials, want 3: %s", n, text)
	}
	if strings.Contains(string(text), token) {
		t.Error("the audit log has the token")
	}
}

// A session counts as a connection: above max_connections its calls are refused until another session
// ends. Its acquires count as calls, its releases do not.
func TestConnectionsOfPrincipal(t *testing.T) {
	a, token := limited(t, "max_connections: 1, max_calls_per_second: 1")
	c := dialFake(t, newFake(), Options{Auth: a, Quotas: quota.New(func() time.Duration { return 0 })})
	as := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	ctx, end := context.WithCancel(as)
	first := openSession(t, c, ctx)
	first.send(acquireCall(1, "k", 0))
	held, err := first.answer()
	if err != nil {
		t.Fatal(err)
	}
	first.send(acquireCall(2, "l", 0))
	if _, err := first.answer(); err == nil || !strings.Contains(err.Error(), "max_calls_per_second") {
		t.Errorf("the second acquire in a second: %v", err)
	}
	first.send(&pb.SessionCall{Id: 3, Call: &pb.SessionCall_Release{Release: &pb.ReleaseRequest{Key: "k", Token: held.GetHold().GetToken()}}})
	if _, err := first.answer(); err != nil {
		t.Errorf("a release: %v", err)
	}
	second := openSession(t, c, as)
	second.send(acquireCall(1, "k", 0))
	if _, err := second.answer(); !errors.Is(err, sharelock.ErrQuota) || !strings.Contains(err.Error(), "max_connections") {
		t.Errorf("a session too many: %v", err)
	}
	end()
	for range 1000 { // the node notices the end of the stream a little later
		third := openSession(t, c, as)
		third.send(acquireCall(1, "k", 0))
		_, err = third.answer()
		_ = third.CloseSend()
		if err == nil || !strings.Contains(err.Error(), "max_connections") {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "max_calls_per_second") {
		t.Errorf("after the first session has ended: %v, want that only its calls are limited", err)
	}
}
