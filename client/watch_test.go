package client

import (
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/fakenode"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// Watch tells of one hold, of a client called stream.
func (m *fakeMesh) Watch(r *sharelockv1.WatchRequest, s grpc.ServerStreamingServer[sharelockv1.WatchEvent]) error {
	err := s.Send(&sharelockv1.WatchEvent{Type: sharelockv1.WatchEvent_SNAPSHOT, Key: r.GetKey(), ClientId: "stream"})
	<-s.Context().Done()
	return err
}

// A node watches in the session that its client has, or over a stream of gRPC if its version does not know that.
func TestWatchInASession(t *testing.T) {
	session := func(k *sessionwire.Keep) []byte {
		if k.Kind != sessionwire.KeepWatch {
			return nil
		}
		b, _ := sessionwire.AppendEvents(nil, k.ID, 1, 1<<10, func(b []byte, _ int) []byte {
			return sessionwire.AppendEvent(b, &sharelock.Event{Type: sharelock.Snapshot, Key: k.Watch.Key, ClientID: "session"})
		})
		return b
	}
	for want, watch := range map[string]func(*sessionwire.Keep) []byte{"session": session, "stream": nil} {
		t.Run(want, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				m, _ := startMesh(t, "a:1")
				begin := time.Now()
				c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(begin) }), []string{"a:1"}, Options{
					Dialer: (&fakenode.Node{Behind: m.dial, Watch: watch}).Dial,
				})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close() //nolint:errcheck // nothing is left
				for e, err := range c.Watch(t.Context(), sharelock.WatchRequest{Key: "k"}) {
					if err != nil || e.Type != sharelock.Snapshot || e.Key != "k" || e.ClientID != want {
						t.Errorf("told %+v, %v", e, err)
					}
					break
				}
			})
		})
	}
}

// A watch is resumed where its program knows the state: not where it was before a reset or a move.
func TestWatchForgetsItsPlace(t *testing.T) {
	w := &watching{yield: func(sharelock.Event, error) bool { return true }}
	for _, step := range []struct {
		kind         sharelock.EventType
		cursor, want string
	}{
		{sharelock.Snapshot, "", ""},
		{sharelock.Synced, "5.1", "5.1"},
		{sharelock.Acquired, "5.2", "5.2"},
		{sharelock.Reset, "", ""},
		{sharelock.Snapshot, "", ""},
		{sharelock.Synced, "5.4", "5.4"},
		{sharelock.Moved, "", ""},
		{sharelock.Ping, "", ""},
		{sharelock.Synced, "6.1", "6.1"},
	} {
		if w.pass(sharelock.Event{Type: step.kind, Cursor: step.cursor}); w.request.Resume != step.want {
			t.Errorf("after %s with cursor %q it is resumed at %q, want %q", step.kind, step.cursor, w.request.Resume, step.want)
		}
	}
}
