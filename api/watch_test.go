package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/httpjson"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var errWatchOver = errors.New("over")

// watching makes a node send two batches of events to each watch.
func watching(n *fakeNode) {
	at := time.Date(2026, 11, 30, 17, 3, 22, 1e8, time.UTC)
	n.watchErr = errWatchOver
	n.events = [][]*sharelock.Event{
		{
			{Type: sharelock.Snapshot, Key: "k", Token: 7, ClientID: "c", Principal: "ci", Mode: sharelock.Shared, At: at, Waiters: 2},
			{Type: sharelock.Synced, Key: "k", At: at, Cursor: "5.9"},
		},
		{
			{Type: sharelock.LeftQueue, Key: "k", ClientID: "d\n", Reason: "wait over", At: at, Waiters: 1, Cursor: "5.10"},
			{Type: sharelock.Ping, Key: "k", At: at, Cursor: "5.10"},
		},
	}
}

// A browser must not resume from before a reset or a move: the empty id makes it forget its place.
func TestEventsForgetThePlace(t *testing.T) {
	for _, kind := range []sharelock.EventType{sharelock.Reset, sharelock.Moved} {
		if got := string(httpjson.AppendEvent(nil, &sharelock.Event{Type: kind, Key: "k"})); !strings.HasPrefix(got, "id\nevent: "+string(kind)+"\ndata: ") {
			t.Errorf("%s is sent as %q", kind, got)
		}
	}
}

// Server-sent events have the type, the cursor and the data; a ping has no id.
func TestEvents(t *testing.T) {
	node := newFake()
	node.set(watching)
	w := exchange(t, NewHTTP(node, Options{}).Handler, http.MethodGet, "/v1/events?key=k&resume=5.1", "", lastEventID, "5.8")
	const want = `retry: 1000

event: snapshot
data: {"key":"k","token":"7","clientId":"c","principal":"ci","mode":"SHARED","reason":"","at":"2026-11-30T17:03:22.1Z","waiters":2}

id: 5.9
event: synced
data: {"key":"k","token":"0","clientId":"","principal":"","mode":"EXCLUSIVE","reason":"","at":"2026-11-30T17:03:22.1Z","waiters":0}

id: 5.10
event: left_queue
data: {"key":"k","token":"0","clientId":"d\n","principal":"","mode":"EXCLUSIVE","reason":"wait over","at":"2026-11-30T17:03:22.1Z","waiters":1}

: keep-alive
event: ping
data: {"key":"k","token":"0","clientId":"","principal":"","mode":"EXCLUSIVE","reason":"","at":"2026-11-30T17:03:22.1Z","waiters":0}

`
	if got := w.Body.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if want := (sharelock.WatchRequest{Key: "k", Resume: "5.8"}); node.watched != want {
		t.Errorf("watched %+v, want %+v", node.watched, want)
	}
}

// A refusal before the first event is answered like that of any other call.
func TestEventsRefused(t *testing.T) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	node.set(func(n *fakeNode) { n.watchErr = sharelock.ErrNoQuorum })
	if w := exchange(t, h, http.MethodGet, "/v1/events", ""); w.Code != http.StatusServiceUnavailable || errorOf(t, w).Reason != "NO_QUORUM" {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	wantInvalid(t, exchange(t, h, http.MethodGet, "/v1/events?what=k", ""), "what")
	if w := exchange(t, h, http.MethodPost, "/v1/events", ""); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", w.Code)
	}
	if w := exchange(t, h, http.MethodHead, "/v1/events?prefix=", ""); w.Code != http.StatusOK {
		t.Errorf("HEAD: status %d", w.Code)
	}
}

// The same over gRPC.
func TestWatch(t *testing.T) {
	node := newFake()
	node.set(watching)
	d := dialFake(t, node, Options{})
	stream, err := d.locks.Watch(t.Context(), &pb.WatchRequest{Prefix: "k", Resume: "5.8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range node.events {
		for _, want := range batch {
			got, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if e := pb.EventFromProto(got); e != *want {
				t.Errorf("got %+v, want %+v", e, *want)
			}
		}
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Internal {
		t.Errorf("at the end of the watch: %v", err)
	}
	if want := (sharelock.WatchRequest{Prefix: "k", Resume: "5.8"}); node.watched != want {
		t.Errorf("watched %+v, want %+v", node.watched, want)
	}
}

// A node that stops ends its watches, and a client that disconnects leaves nothing behind.
func TestWatchEnds(t *testing.T) {
	node := newFake()
	node.set(func(n *fakeNode) { n.watchOpen = true })
	d := dialFake(t, node, Options{})
	stream, err := d.locks.Watch(t.Context(), &pb.WatchRequest{Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone, err := d.locks.Watch(ctx, &pb.WatchRequest{Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := gone.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("after the cancel: %v", err)
	}
	if err := d.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable || errors.Is(err, io.EOF) {
		t.Errorf("when the node stops: %v", err)
	}
}

// A watch shows only what the caller may read, and says that it is filtered.
func TestWatchIsFiltered(t *testing.T) {
	a := newAuthority(t, accessFile, callers[1:]...)
	node := newFake()
	node.set(func(n *fakeNode) {
		n.watchErr = errWatchOver
		n.events = [][]*sharelock.Event{{
			{Type: sharelock.Snapshot, Key: theKey, Token: 7}, {Type: sharelock.Snapshot, Key: "other/x", Token: 8}, {Type: sharelock.Synced},
		}}
	})
	h := newHTTPAPI(node, Options{Auth: a.Authority}).routes()
	for name, filtered := range map[string]bool{"other": true, "reader": false} {
		body := request(a, h, name, http.MethodGet, "/v1/events").Body.String()
		if !strings.Contains(body, "other/x") || strings.Contains(body, theKey) == filtered || strings.Contains(body, `"filtered":true`) != filtered {
			t.Errorf("%s sees\n%s", name, body)
		}
	}
	if w := request(a, h, "other", http.MethodGet, "/v1/events?key="+url.QueryEscape(theKey)); w.Code != http.StatusForbidden {
		t.Errorf("a key that may not be read: status %d", w.Code)
	}
	if node.events[0][2].Filtered {
		t.Error("the events of the node were changed")
	}
}

// A watch ends when its caller may no longer read.
func TestWatchIsRevoked(t *testing.T) {
	a := newAuthority(t, accessFile, callers[1:]...)
	node := newFake()
	node.set(func(n *fakeNode) { n.watchOpen, n.events = true, [][]*sharelock.Event{{{Type: sharelock.Synced}}} })
	d := dialFake(t, node, Options{Auth: a.Authority})
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan struct{})
	go func() {
		defer close(running)
		a.Run(ctx)
	}()
	defer func() {
		cancel()
		<-running
	}()
	stream, err := d.locks.Watch(a.as(t.Context(), "reader"), &pb.WatchRequest{Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // the call has passed the gate
		t.Fatal(err)
	}
	a.write(t, accessFile+"  - {name: nobody, policies: []}\n")
	a.Reload()
	if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated && status.Code(err) != codes.PermissionDenied {
		t.Errorf("after the reload: %v", err)
	}
}
