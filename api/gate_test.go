package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/internal/pagetoken"
	"github.com/sgkandale/sharelock/internal/virtual"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// change replaces text in the auth file, and makes the node read it again.
func (a *authority) change(t *testing.T, old, new string) {
	t.Helper()
	b, err := os.ReadFile(a.file)
	if err != nil || !strings.Contains(string(b), old) {
		t.Fatalf("%v, or the file has no %s", err, old)
	}
	a.write(t, strings.ReplaceAll(string(b), old, new))
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
}

// The caller of a session loses a permission: its waiting acquires are answered and its attached holds are
// detached, with the reason. Other keys and other sessions are not affected.
func TestRevocationInSessions(t *testing.T) { bothWays(t, testRevocationInSessions) }

func testRevocationInSessions(t *testing.T, open open) {
	a := newAuthority(t, `policies:
  ci: [{keys: ["ci/", "prod/"], verbs: [acquire]}]
  ops: [{keys: [""], verbs: [acquire]}]
principals:
`, "ci", "ops")
	node := newFake()
	c := dialFake(t, node, Options{Auth: a.Authority})
	start := func(name string) *talk {
		k := open(t, c, t.Context())
		if err := k.Send(&pb.SessionRequest{Token: a.tokens[name], Ping: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Recv(); err != nil {
			t.Fatal(err)
		}
		return k
	}
	ops, ci := start("ops"), start("ci")
	ops.send(acquireCall(1, "prod/k", 0), acquireCall(2, "ci/k", 0))
	for range 2 {
		if got, err := ops.answer(); err != nil || got.GetStatus() != nil {
			t.Fatalf("%v, %v", got, err)
		}
	}
	ci.send(acquireCall(1, "prod/held", 0))
	held, err := ci.answer()
	if err != nil || held.GetHold() == nil {
		t.Fatalf("%v, %v", held, err)
	}
	ci.send(acquireCall(2, "prod/k", time.Minute), acquireCall(3, "ci/k", time.Minute))
	for range 2 {
		<-node.waits
	}
	if err := ci.Send(&pb.SessionRequest{Keepalive: 1, Attach: []*pb.SessionHold{
		{Id: 9, Key: "prod/held", Token: held.GetHold().GetToken(), Ttl: durationpb.New(time.Second)},
	}}); err != nil {
		t.Fatal(err)
	}
	for renewed := false; !renewed; {
		m, err := ci.Recv()
		if err != nil {
			t.Fatal(err)
		}
		renewed = len(m.GetRenewed()) > 0
	}

	a.change(t, `["ci/", "prod/"]`, `["ci/"]`)
	var answered, ended codes.Code
	for answered == 0 || ended == 0 {
		m, err := ci.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range m.GetAnswers() {
			if got.GetId() != 2 {
				t.Errorf("answered %v", got)
			}
			answered = codeOf(t, got.GetStatus())
		}
		for _, got := range m.GetEnded() {
			ended = codeOf(t, got.GetStatus())
		}
	}
	if answered != codes.PermissionDenied || ended != codes.PermissionDenied {
		t.Errorf("the waiter was answered %v, the hold ended with %v", answered, ended)
	}
	ops.send(&pb.SessionCall{Id: 5, Call: &pb.SessionCall_Release{Release: &pb.ReleaseRequest{Key: "ci/k", Token: tokenOf(t, node, "ci/k")}}})
	if got, err := ci.answer(); err != nil || got.GetId() != 3 || got.GetHold() == nil {
		t.Errorf("the call that is still allowed: %v, %v", got, err)
	}
}

// tokenOf returns the token of the holder of a key.
func tokenOf(t *testing.T, node *fakeNode, key string) uint64 {
	t.Helper()
	st, err := node.Get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	return uint64(st.Holds[0].Token)
}

// Removing a token from the file ends only the use of that token: the session continues with another token
// of the same principal, and with no other.
func TestTokenRotationInSessions(t *testing.T) { bothWays(t, testTokenRotationInSessions) }

func testTokenRotationInSessions(t *testing.T, open open) {
	a := newAuthority(t, "policies: {ci: [{keys: [\"\"], verbs: [acquire]}], next: [], ops: [{keys: [\"\"], verbs: [acquire]}]}\nprincipals:\n", "ci", "next", "ops")
	c := dialFake(t, newFake(), Options{Auth: a.Authority})
	k := open(t, c, t.Context())
	id := uint64(0)
	call := func(token string) codes.Code {
		t.Helper()
		id++
		if err := k.Send(&pb.SessionRequest{Token: token, Calls: []*pb.SessionCall{acquireCall(id, string(rune('a'+id)), 0)}}); err != nil {
			t.Fatal(err)
		}
		_, err := k.answer()
		return pb.ToStatus(err).Code()
	}
	steps := func(want codes.Code, token string) {
		t.Helper()
		if got := call(token); got != want {
			t.Errorf("the answer is %v, want %v", got, want)
		}
	}
	steps(codes.Unauthenticated, "slk_bad")
	steps(codes.Unauthenticated, "")
	steps(codes.OK, a.tokens["ci"])
	steps(codes.OK, "")
	steps(codes.OK, "slk_bad") // a session whose token is valid loses nothing
	steps(codes.OK, "")
	b, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	// The token of ci is removed, and that of next becomes one of ci.
	lines := strings.Split(string(b), "\n")
	var kept []string
	for _, line := range lines {
		if !strings.Contains(line, "name: ci,") {
			kept = append(kept, strings.Replace(line, "name: next, policies: [next]", "name: ci, policies: [ci]", 1))
		}
	}
	a.write(t, strings.Join(kept, "\n"))
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	steps(codes.Unauthenticated, "")
	steps(codes.Unauthenticated, a.tokens["ops"])
	steps(codes.OK, a.tokens["next"])
	steps(codes.OK, "")
}

// A session without credentials ends if callers without any may do nothing. A session with credentials
// does not end, and neither does one that may read.
func TestStrangersSessionEnds(t *testing.T) { bothWays(t, testStrangersSessionEnds) }

func testStrangersSessionEnds(t *testing.T, open open) {
	for _, anonymous := range []string{"", "anonymous: [ci]\n"} {
		virtual.Test(t, func(t *testing.T) {
			a := newAuthority(t, anonymous+"policies: {ci: [{keys: [\"\"], verbs: [read]}]}\nprincipals:\n", "ci")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go a.Run(ctx)
			c := dialFake(t, newFake(), Options{Auth: a.Authority})
			stranger, known := open(t, c, t.Context()), open(t, c, t.Context())
			if err := known.Send(&pb.SessionRequest{Token: a.tokens["ci"]}); err != nil {
				t.Fatal(err)
			}
			if err := stranger.Send(&pb.SessionRequest{Ping: true}); err != nil {
				t.Fatal(err)
			}
			if _, err := stranger.Recv(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(gate.StrangerTime + 5*time.Second)
			synctest.Wait()
			ended := make(chan error, 1)
			go func() {
				_, err := stranger.Recv()
				ended <- err
			}()
			synctest.Wait()
			select {
			case err := <-ended:
				switch {
				case anonymous != "":
					t.Errorf("the session of one who may read has ended: %v", err)
				case status.Code(err) != codes.Unauthenticated:
					t.Errorf("the session of a stranger ended with %v", err)
				}
			default:
				if anonymous == "" {
					t.Error("the session of a stranger goes on")
				}
			}
			if err := known.Send(&pb.SessionRequest{Ping: true}); err != nil {
				t.Error(err)
			}
			if _, err := known.Recv(); err != nil {
				t.Errorf("the session with credentials: %v", err)
			}
			c.server.Stop()
		})
	}
}

// A waiting acquire of a unary call is answered when its caller may no longer have the key.
func TestRevocationOfWaitingCalls(t *testing.T) {
	a := newAuthority(t, "policies: {ci: [{keys: [\"prod/\"], verbs: [acquire]}]}\nprincipals:\n", "ci")
	node := newFake()
	c := dialFake(t, node, Options{Auth: a.Authority})
	hold(t, node, "prod/k")
	failed := make(chan error, 1)
	go func() {
		_, err := c.locks.Acquire(a.as(t.Context(), "ci"), &pb.AcquireRequest{Key: "prod/k", ClientId: "c", Wait: durationpb.New(time.Minute)})
		failed <- err
	}()
	<-node.waits
	a.change(t, "verbs: [acquire]", "verbs: [read]")
	if err := <-failed; status.Code(err) != codes.PermissionDenied {
		t.Errorf("the answer is %v", err)
	}
}

// A list contains only what may be read, says so, and its page tokens contain no other keys.
func TestFilteredList(t *testing.T) {
	a := newAuthority(t, "policies: {ci: [{keys: [\"b/\", \"d/\"], verbs: [read]}], all: [{keys: [\"\"], verbs: [read]}]}\nprincipals:\n", "ci", "all")
	node := newFake()
	c := dialFake(t, node, Options{Auth: a.Authority})
	for _, key := range []string{"a/1", "b/1", "b/2", "c/1", "d/1", "d/2", "e/1"} {
		hold(t, node, key)
	}
	for size := range uint32(6) {
		var keys []string
		r := &pb.ListRequest{PageSize: size}
		for more := true; more; more = r.PageToken != "" {
			page, err := c.locks.List(a.as(t.Context(), "ci"), r)
			if err != nil || !page.GetFiltered() {
				t.Fatalf("%v, %v", page, err)
			}
			for _, l := range page.GetLocks() {
				keys = append(keys, l.GetKey())
			}
			if n := len(page.GetLocks()); size > 0 && n > int(size) {
				t.Errorf("a page has %d keys, want %d", n, size)
			}
			for _, hidden := range []string{"a/1", "c/1", "e/1"} {
				if r.PageToken = page.GetNextPageToken(); strings.Contains(r.PageToken, pagetoken.After(hidden)) {
					t.Errorf("the token %s has the key %s", r.PageToken, hidden)
				}
			}
		}
		if got := strings.Join(keys, " "); got != "b/1 b/2 d/1 d/2" {
			t.Errorf("pages of %d: %s", size, got)
		}
	}
	page, err := c.locks.List(a.as(t.Context(), "all"), &pb.ListRequest{})
	if err != nil || page.GetFiltered() || len(page.GetLocks()) != 7 {
		t.Errorf("all: %v, %v", page, err)
	}
	page, err = c.locks.List(a.as(t.Context(), "ci"), &pb.ListRequest{Prefix: "b/1"})
	if err != nil || page.GetFiltered() || len(page.GetLocks()) != 1 {
		t.Errorf("b/1: %v, %v", page, err)
	}
	if _, err = c.locks.List(a.as(t.Context(), "ci"), &pb.ListRequest{Prefix: "c"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a prefix of which nothing may be read: %v", err)
	}
}

// The node is told who calls, and whether the caller may act on other principals' holds.
func TestCallerReachesTheNode(t *testing.T) {
	a := newAuthority(t, accessFile, callers[1:]...)
	node := newFake()
	c := dialFake(t, node, Options{Auth: a.Authority})
	for name, want := range map[string]bool{"owner": false, "force": true} {
		if _, err := c.locks.Renew(a.as(t.Context(), name), &pb.RenewRequest{Key: theKey, Token: 1}); status.Code(err) != codes.NotFound {
			t.Error(err)
		}
		if got := node.caller(); got.Principal != name || got.AnyHold != want {
			t.Errorf("%s is %+v", name, got)
		}
	}
	who, err := c.mesh.WhoAmI(a.as(t.Context(), "force"), &pb.WhoAmIRequest{})
	if err != nil || !who.GetAuthentication() || who.GetPrincipal() != "force" || who.GetCredential() != "token" || len(who.GetPermissions()) != 3 {
		t.Errorf("%v, %v", who, err)
	}
}

// A request of a page of another origin is refused if it changes something, also by a node that is open to
// all.
func TestForeignOrigins(t *testing.T) {
	h := NewHTTP(newFake(), Options{}).Handler
	for _, tt := range []struct {
		method, path, header, value string
		want                        bool
	}{
		{"POST", "/v1/locks/k", "", "", true},
		{"POST", "/v1/locks/k", "Origin", "http://example.com", true}, // the host of httptest
		{"POST", "/v1/locks/k", "Origin", "http://evil.example", false},
		{"POST", "/v1/locks/k", "Origin", "null", false},
		{"POST", "/v1/locks/k", "Sec-Fetch-Site", "cross-site", false},
		{"POST", "/v1/locks/k", "Sec-Fetch-Site", "same-site", false},
		{"POST", "/v1/locks/k", "Sec-Fetch-Site", "same-origin", true},
		{"DELETE", "/v1/locks/k?token=1", "Origin", "http://evil.example", false},
		{"PATCH", "/v1/locks/k", "Origin", "http://evil.example", false},
		{"POST", "/v1/mesh/leave", "Origin", "http://evil.example", false},
		{"POST", "/lock", "Origin", "http://evil.example", false},
		{"POST", "/unlock", "Origin", "http://evil.example", false},
		{"POST", "/ping", "Origin", "http://evil.example", true},
		{"GET", "/v1/mesh", "Origin", "http://evil.example", true},
	} {
		r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(`{"clientId":"c","wait":"0s","key":"x","timeoutMs":1}`))
		if tt.header != "" {
			r.Header.Set(tt.header, tt.value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if (w.Code != http.StatusForbidden) != tt.want {
			t.Errorf("%s %s with %s %s: %d %s", tt.method, tt.path, tt.header, tt.value, w.Code, w.Body)
		}
	}
}

// A refusal says how to authenticate, and readiness gives strangers only the reason, without details.
func TestHTTPOfStrangers(t *testing.T) {
	a := newAuthority(t, accessFile, callers[1:]...)
	node := newFake()
	h := NewHTTP(node, Options{Auth: a.Authority}).Handler
	w := exchange(t, h, "GET", "/v1/locks/k", "")
	if errorOf(t, w).Reason != "UNAUTHENTICATED" || w.Header().Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	for _, bad := range []string{"Basic YTpi", "Bearer", "Bearer slk_x"} {
		if w := exchange(t, h, "GET", "/v1/auth/whoami", "", "Authorization", bad); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
	node.set(func(n *fakeNode) {
		n.ready = &sharelock.Error{Err: sharelock.ErrNoQuorum, Message: "10.0.0.7 is away"}
	})
	w = exchange(t, h, "GET", "/readyz", "")
	if e := errorOf(t, w); e.Reason != "NO_QUORUM" || strings.Contains(w.Body.String(), "10.0.0.7") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
