package api

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

var healthNames = []string{"", "sharelock.v1.LockService", "sharelock.v1.MeshService", "sharelock.ShareLockService"}

func TestHealthAsksTheNode(t *testing.T) {
	node := newFake()
	c := dialFake(t, node, Options{})
	check := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, name := range healthNames {
			r, err := c.health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name})
			if err != nil || r.GetStatus() != want {
				t.Errorf("%q: %v, %v, want %v", name, r, err, want)
			}
		}
		l, err := c.health.List(t.Context(), &healthpb.HealthListRequest{})
		if err != nil || len(l.GetStatuses()) != len(healthNames) || l.GetStatuses()[""].GetStatus() != want {
			t.Errorf("list: %v, %v", l, err)
		}
	}
	check(healthpb.HealthCheckResponse_SERVING)
	node.set(func(n *fakeNode) { n.ready = sharelock.ErrNoQuorum })
	check(healthpb.HealthCheckResponse_NOT_SERVING)
	node.set(func(n *fakeNode) { n.ready = nil })
	check(healthpb.HealthCheckResponse_SERVING)
	c.server.SetServing(false) // a drain, while the node could still serve
	check(healthpb.HealthCheckResponse_NOT_SERVING)
	c.server.SetServing(true)
	check(healthpb.HealthCheckResponse_SERVING)
	if _, err := c.health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "nope"}); status.Code(err) != codes.NotFound {
		t.Errorf("unknown service: %v", err)
	}
}

func TestHealthWatch(t *testing.T) {
	for name, poll := range map[string]time.Duration{"told": time.Hour, "polled": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			node := newFake()
			g := NewGRPC(node, Options{})
			g.health.poll = poll
			c := dialServer(t, g)
			w, err := c.health.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "sharelock.v1.LockService"})
			if err != nil {
				t.Fatal(err)
			}
			next := func(want healthpb.HealthCheckResponse_ServingStatus) {
				t.Helper()
				if r, err := w.Recv(); err != nil || r.GetStatus() != want {
					t.Fatalf("%v, %v, want %v", r, err, want)
				}
			}
			tell := func(serving bool) {
				if poll == time.Hour {
					g.SetServing(serving)
				}
			}
			next(healthpb.HealthCheckResponse_SERVING)
			node.set(func(n *fakeNode) { n.ready = sharelock.ErrNotReady })
			tell(true)
			next(healthpb.HealthCheckResponse_NOT_SERVING)
			node.set(func(n *fakeNode) { n.ready = nil })
			tell(true)
			next(healthpb.HealthCheckResponse_SERVING)
			g.SetServing(false)
			next(healthpb.HealthCheckResponse_NOT_SERVING)
		})
	}
}

func TestHealthWatchOfUnknownService(t *testing.T) {
	c := dialFake(t, newFake(), Options{})
	w, err := c.health.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "nope"})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := w.Recv(); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		t.Errorf("%v, %v", r, err)
	}
}
