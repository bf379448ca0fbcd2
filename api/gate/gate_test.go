package gate

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/caller"
	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// rules are an auth file with two principals.
type rules struct {
	t      *testing.T
	file   string
	text   string
	auth   *auth.Authority
	tokens map[string]string
}

const policies = `policies:
  ci: [{keys: ["ci/"], verbs: [acquire, read]}]
  ops: [{keys: [""], verbs: [acquire, read, force, admin]}]
principals:
`

// newGate returns the gate of a node with rules, and the rules.
func newGate(t *testing.T) (*Gate, *rules) {
	t.Helper()
	r := &rules{t: t, file: filepath.Join(t.TempDir(), "auth.yaml"), text: policies, tokens: map[string]string{}}
	for _, name := range []string{"ci", "ops"} {
		token, stored := auth.NewToken()
		r.tokens[name] = token
		r.text += "  - {name: " + name + ", policies: [" + name + "], tokens: [\"" + stored + "\"]}\n"
	}
	r.write()
	var err error
	r.auth, err = auth.Open(auth.Config{File: r.file, AllowPlaintextTokens: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Auth: r.auth}), r
}

func (r *rules) write() {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(r.text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// change replaces a text of the file, and makes the node read it again.
func (r *rules) change(old, text string) {
	r.t.Helper()
	if !strings.Contains(r.text, old) {
		r.t.Fatalf("the auth file has no %q", old)
	}
	r.text = strings.ReplaceAll(r.text, old, text)
	r.write()
	if err := r.auth.Reload(); err != nil {
		r.t.Fatal(err)
	}
}

// enter returns the context of a call of a principal.
func (r *rules) enter(g *Gate, name string) context.Context {
	r.t.Helper()
	ctx, _, err := g.enter(r.t.Context(), auth.Credentials{Plain: true, Bearer: r.tokens[name]}, entrance{door: DoorHTTP, method: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	return ctx
}

// keyInQuery returns the key of a test's request.
func keyInQuery(r *http.Request) (string, error) { return r.URL.Query().Get("key"), nil }

// A nil gate allows every call and affects no handler.
func TestNil(t *testing.T) {
	g := New(Config{})
	if g != nil || g.Authenticates() || g.Guard(nil, auth.Credentials{}, nil) != nil || g.Trail() != nil {
		t.Fatalf("the gate of a node without rules is %v", g)
	}
	ctx := t.Context()
	if got, err := g.Check(ctx, auth.Admin, "k"); got != ctx || err != nil {
		t.Errorf("Check: %v, %v", got, err)
	}
	if list, all, err := g.Within(ctx, "a/"); list != nil || !all || err != nil {
		t.Errorf("Within: %q, %t, %v", list, all, err)
	}
	if got, done := g.Wait(ctx, "k"); got != ctx || done() != nil {
		t.Errorf("Wait: %v", got)
	}
	if who, err := g.Identity(ctx); who != nil || err != nil || !MayRead(ctx, "k") {
		t.Errorf("Identity: %v, %v", who, err)
	}
	served := false
	h := g.HTTP("test", Access{}, keyInQuery, nil, func(http.ResponseWriter, *http.Request) { served = true })
	if h(nil, nil); !served {
		t.Error("the handler is not reached")
	}
}

func TestHTTP(t *testing.T) {
	g, rules := newGate(t)
	for _, tt := range []struct {
		name   string
		need   Access
		caller string // "" for one without credentials
		key    string
		want   error // nil if the call reaches its handler
	}{
		{"open to all", NeedsNothing, "", "", nil},
		{"no credentials", NeedsRead, "", "ci/k", sharelock.ErrUnauthenticated},
		{"its key", NeedsAcquire, "ci", "ci/k", nil},
		{"another's key", NeedsAcquire, "ci", "prod/k", sharelock.ErrPermissionDenied},
		{"another verb", NeedsForce, "ci", "ci/k", sharelock.ErrPermissionDenied},
		{"any key", NeedsReadOfAny, "ci", "", nil},
		{"an administrator's", NeedsAdmin, "ci", "", sharelock.ErrPermissionDenied},
		{"an administrator", NeedsAdmin, "ops", "", nil},
		{"left to the handler", NeedsChecks, "ci", "prod/k", nil},
		{"not declared", Access{}, "ops", "ci/k", sharelock.ErrPermissionDenied},
	} {
		var reached bool
		var refused error
		h := g.HTTP("test", tt.need, keyInQuery,
			func(_ http.ResponseWriter, _ *http.Request, err error) { refused = err },
			func(_ http.ResponseWriter, r *http.Request) {
				reached = true
				if who := caller.From(r.Context()).Principal; who != tt.caller {
					t.Errorf("%s: the handler sees %q", tt.name, who)
				}
			})
		r := httptest.NewRequest(http.MethodPost, "/?key="+tt.key, http.NoBody)
		if tt.caller != "" {
			r.Header.Set("Authorization", "Bearer "+rules.tokens[tt.caller])
		}
		h(httptest.NewRecorder(), r)
		if reached != (tt.want == nil) || !errors.Is(refused, tt.want) {
			t.Errorf("%s: reached %t, refused with %v; want %v", tt.name, reached, refused, tt.want)
		}
	}
}

// What the handler checks by itself is checked for the caller of the visit; a call that has come past
// the gate is allowed nothing.
func TestCheck(t *testing.T) {
	g, rules := newGate(t)
	ctx := rules.enter(g, "ci")
	if _, err := g.Check(ctx, auth.Acquire, "ci/k"); err != nil {
		t.Error(err)
	}
	if _, err := g.Check(ctx, auth.Acquire, "prod/k"); !errors.Is(err, sharelock.ErrPermissionDenied) {
		t.Errorf("another's key: %v", err)
	}
	if list, all, err := g.Within(ctx, ""); !slices.Equal(list, []string{"ci/"}) || all || err != nil {
		t.Errorf("it may read %q, all %t, %v", list, all, err)
	}
	if !MayRead(ctx, "ci/k") || MayRead(ctx, "prod/k") {
		t.Error("MayRead disagrees with the rules")
	}
	past := t.Context()
	_, checked := g.Check(past, auth.Acquire, "ci/k")
	_, _, within := g.Within(past, "ci/")
	_, identity := g.Identity(past)
	for _, err := range []error{checked, within, identity} {
		if !errors.Is(err, sharelock.ErrInternal) {
			t.Errorf("a call past the gate: %v", err)
		}
	}
}

// An acquire that waits ends when its caller may not have the key any more, and only then.
func TestWait(t *testing.T) {
	g, rules := newGate(t)
	ci, ciDone := g.Wait(rules.enter(g, "ci"), "ci/k")
	ops, opsDone := g.Wait(rules.enter(g, "ops"), "ci/k")
	rules.change(`"ci/"`, `"other/"`)
	if ci.Err() == nil {
		t.Fatal("the acquire of a caller that lost the key goes on")
	}
	if err := ciDone(); !errors.Is(err, sharelock.ErrPermissionDenied) {
		t.Errorf("the caller that lost the key: %v", err)
	}
	if err := ops.Err(); err != nil {
		t.Errorf("the other caller: %v", err)
	}
	if err := opsDone(); err != nil || ops.Err() == nil {
		t.Errorf("the other caller is done: %v, and its context has not ended", err)
	}
	if len(g.waits) != 0 {
		t.Errorf("%d calls are still registered", len(g.waits))
	}
}

// A watch tells what the caller may read, by the newest rules.
func TestWatch(t *testing.T) {
	g, rules := newGate(t)
	events := []*event.Event{
		event.New(&sharelock.Event{Type: sharelock.Acquired, Key: "ci/k"}), event.New(&sharelock.Event{Type: sharelock.Acquired, Key: "new/k"}),
		event.New(&sharelock.Event{Type: sharelock.Synced}),
	}
	var got []string
	send := func(events []*event.Event) error {
		for _, e := range events {
			got = append(got, e.Key)
			if e.Type == sharelock.Synced && !e.Filtered {
				t.Error("nobody says that events are left out")
			}
		}
		return nil
	}
	end := errors.New("the end")
	err := g.Watch(rules.enter(g, "ci"), sharelock.WatchRequest{}, func(_ context.Context, _ sharelock.WatchRequest, send func([]*event.Event) error) error {
		if err := send(events); err != nil {
			return err
		}
		rules.change(`"ci/"`, `"new/"`)
		if err := send(events); err != nil {
			return err
		}
		return end
	}, send)
	if want := []string{"ci/k", "", "new/k", ""}; !errors.Is(err, end) || !slices.Equal(got, want) {
		t.Errorf("told %q, %v; want %q", got, err, want)
	}
	if events[2].Filtered {
		t.Error("an event was changed that others are told, too")
	}
}

// fakeSession notes what its guard does.
type fakeSession struct {
	principals []string
	allowed    func(key string) (bool, error)
	ended      error
}

func (s *fakeSession) Begin(principal string) { s.principals = append(s.principals, principal) }

func (s *fakeSession) Revoke(allowed func(key string) (bool, error)) { s.allowed = allowed }

func (s *fakeSession) End(err error) { s.ended = err }

// A session belongs to its first principal, has the rights of the newest rules, and is left alone after Leave.
func TestGuard(t *testing.T) {
	g, rules := newGate(t)
	s := &fakeSession{}
	guard := g.Guard(s, auth.Credentials{Plain: true, Bearer: rules.tokens["ci"]}, nil)
	guard.Register()
	one := func(key string) error {
		calls := []sessionwire.Call{{Kind: sessionwire.CallAcquire, AcquireRequest: sharelock.AcquireRequest{Key: key}}}
		guard.CheckCalls(calls)
		return calls[0].Err
	}
	if err := one("ci/k"); !errors.Is(err, sharelock.ErrUnauthenticated) {
		t.Errorf("a call before the first message: %v", err)
	}
	if err := guard.Hear(t.Context(), nil); err != nil || !slices.Equal(s.principals, []string{"ci"}) {
		t.Fatalf("the first message: %v, begun for %q", err, s.principals)
	}
	if err := one("ci/k"); err != nil {
		t.Errorf("its key: %v", err)
	}
	if err := one("prod/k"); !errors.Is(err, sharelock.ErrPermissionDenied) {
		t.Errorf("another's key: %v", err)
	}
	keep := sessionwire.Keep{Kind: sessionwire.KeepAttach, Key: "prod/k"}
	if guard.CheckHold(&keep); !errors.Is(keep.Err, sharelock.ErrPermissionDenied) || !guard.MayReadRing() {
		t.Errorf("attaching another's hold: %v; the ring %t", keep.Err, guard.MayReadRing())
	}
	rules.change(`"ci/"`, `"other/"`)
	if s.allowed == nil {
		t.Fatal("nothing is taken back when the rules change")
	}
	if _, err := s.allowed("ci/k"); !errors.Is(err, sharelock.ErrPermissionDenied) {
		t.Errorf("what is taken back: %v", err)
	}
	if err := one("other/k"); err != nil {
		t.Errorf("a key of the new rules: %v", err)
	}
	guard.Leave()
	s.allowed = nil
	if rules.change(`"other/"`, `"ci/"`); s.allowed != nil || len(s.principals) != 1 || s.ended != nil {
		t.Errorf("after Leave: revoked %t, begun for %q, ended %v", s.allowed != nil, s.principals, s.ended)
	}
}
