package api

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// healthPoll is the interval at which a Watch asks the node. Polling is necessary because the end
// of a lease is not an event.
const healthPoll = 500 * time.Millisecond

// health implements grpc.health.v1.Health. It stores no status, because a node's lease ends by the
// clock and a stored answer could be wrong (Q4). It asks the node for every answer.
type health struct {
	healthpb.UnimplementedHealthServer
	ready    func() error
	services []string // known names; "" means the node
	poll     time.Duration

	mu      sync.Mutex // guards all below
	serving bool       // if false, the answer is NOT_SERVING regardless of the node
	stopped bool
	changed chan struct{} // closed and replaced at every change of serving or stopped
}

func newHealth(ready func() error, services []string) *health {
	return &health{
		ready:    ready,
		services: append([]string{""}, services...),
		poll:     healthPoll,
		serving:  true,
		changed:  make(chan struct{}),
	}
}

// setServing makes answers depend on the node's state, or makes all of them NOT_SERVING. It wakes
// the watchers in both cases.
func (h *health) setServing(serving bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serving = serving
	close(h.changed)
	h.changed = make(chan struct{})
}

// stop ends all watches, which would otherwise block a graceful stop for ever.
func (h *health) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serving, h.stopped = false, true
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *health) state() (serving, stopped bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.serving, h.stopped, h.changed
}

func (h *health) known(service string) bool {
	return slices.Contains(h.services, service)
}

func (h *health) status(serving bool) healthpb.HealthCheckResponse_ServingStatus {
	if serving && h.ready() == nil {
		return healthpb.HealthCheckResponse_SERVING
	}
	return healthpb.HealthCheckResponse_NOT_SERVING
}

func (h *health) Check(_ context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if !h.known(r.GetService()) {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	serving, _, _ := h.state()
	return &healthpb.HealthCheckResponse{Status: h.status(serving)}, nil
}

func (h *health) List(context.Context, *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	serving, _, _ := h.state()
	st := h.status(serving)
	r := &healthpb.HealthListResponse{Statuses: map[string]*healthpb.HealthCheckResponse{}}
	for _, s := range h.services {
		r.Statuses[s] = &healthpb.HealthCheckResponse{Status: st}
	}
	return r, nil
}

func (h *health) Watch(r *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	ticker := time.NewTicker(h.poll)
	defer ticker.Stop()
	sent := healthpb.HealthCheckResponse_UNKNOWN
	for {
		serving, stopped, changed := h.state()
		// grpc.health.v1 requires this status, not an error, for an unknown name.
		now := healthpb.HealthCheckResponse_SERVICE_UNKNOWN
		if h.known(r.GetService()) {
			now = h.status(serving)
		}
		if now != sent {
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
			sent = now
		}
		if stopped {
			return status.Error(codes.Unavailable, "the node is stopping")
		}
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-changed:
		case <-ticker.C:
		}
	}
}
