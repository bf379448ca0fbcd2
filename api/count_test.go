package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/internal/metrics"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// countedBy returns what was counted, as "door method: code number, …".
func countedBy(c *metrics.Calls) (list []string) {
	c.Each(func(door, method string, codes map[string]uint64, took *metrics.Histogram) {
		list = append(list, fmt.Sprintf("%s %s: %v", door, method, codes))
		all := uint64(0)
		for _, n := range codes {
			all += n
		}
		if took.Count() != all {
			list = append(list, fmt.Sprintf("%d durations", took.Count()))
		}
	})
	return list
}

// Every call over HTTP is counted once, with its method and the reason of its error.
func TestHTTPCallsAreCounted(t *testing.T) {
	calls := metrics.NewCalls()
	node := newFake()
	h := NewHTTP(node, Options{Calls: calls, Metrics: http.NotFoundHandler()}).Handler
	for _, call := range []string{
		"POST /v1/locks/k {}", `POST /v1/locks/k {"clientId":"a","wait":"0s"}`, `POST /v1/locks/k {"clientId":"b","wait":"0s"}`,
		`POST /v1/locks/k {"clientId":1}`, `POST /v1/locks/` + strings.Repeat("k", 600) + ` {"clientId":"a"}`,
		"PATCH /v1/locks/k {}", "GET /v1/locks/k", "HEAD /v1/locks/k", "GET /v1/locks/none", "GET /v1/locks", "GET /v1/locks?pageSize=x",
		"GET /v1/locks/k/token/5", "DELETE /v1/locks/k?token=5", "DELETE /v1/locks/k?force=true", "DELETE /v1/locks/k?force=maybe",
		"GET /v1/mesh", "GET /v1/mesh/locate/k", "GET /v1/mesh/ring", "GET /v1/mesh/activity", "GET /v1/auth/whoami", "POST /v1/mesh/leave {}",
		"GET /ping", `POST /lock {"key":"o"}`, `POST /lock {"key":""}`, `POST /unlock {"key":"o"}`, `POST /unlock {"key":"o"}`, "POST /unlock [",
		// Not calls.
		"GET /healthz", "GET /readyz", "GET /metrics", "GET /nowhere", "PUT /v1/locks/k",
	} {
		method, rest, _ := strings.Cut(call, " ")
		path, body, _ := strings.Cut(rest, " ")
		exchange(t, h, method, path, body, "X-Client-Id", "o")
	}
	node.set(func(n *fakeNode) { n.hook = func() { panic("at the disco") } })
	exchange(t, h, "GET", "/v1/locks/k", "")
	want := []string{
		"http acquire: map[INVALID_ARGUMENT:2 LOCK_HELD:2 OK:1]",
		"http check_token: map[STALE_TOKEN:1]",
		"http force_release: map[OK:1]",
		"http get: map[INTERNAL:1 NOT_HELD:1 OK:2]",
		"http get_activity: map[OK:1]",
		"http get_mesh: map[OK:1]",
		"http get_ring: map[OK:1]",
		"http leave: map[OK:1]",
		"http list: map[INVALID_ARGUMENT:1 OK:1]",
		"http locate: map[OK:1]",
		"http release: map[INVALID_ARGUMENT:1 STALE_TOKEN:1]",
		"http renew: map[INVALID_ARGUMENT:1]",
		"http who_am_i: map[OK:1]",
		"original lock: map[INVALID_ARGUMENT:1 OK:1]",
		"original ping: map[OK:1]",
		"original unlock: map[INVALID_ARGUMENT:1 NOT_HELD:1 OK:1]",
	}
	if got := countedBy(calls); !slices.Equal(got, want) {
		t.Errorf("counted\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Every unary call over gRPC is counted, health checks are not.
func TestGRPCCallsAreCounted(t *testing.T) {
	calls := metrics.NewCalls()
	c := dialFake(t, newFake(), Options{Calls: calls})
	ctx := t.Context()
	answered := func(err error, ok bool) {
		t.Helper()
		if (err == nil) != ok {
			t.Errorf("answered %v", err)
		}
	}
	for i, client := range []string{"a", "b"} {
		_, err := c.locks.Acquire(ctx, &pb.AcquireRequest{Key: "k", ClientId: client, Wait: durationpb.New(0)})
		answered(err, i == 0)
	}
	_, err := c.locks.CheckToken(ctx, &pb.CheckTokenRequest{Key: "k"})
	answered(err, true)
	_, err = original.NewShareLockServiceClient(c.conn).Unlock(ctx, &original.UnlockRequest{Key: "k"})
	answered(err, true) // its status says what is wrong
	_, err = c.mesh.GetMesh(ctx, &pb.GetMeshRequest{})
	answered(err, true)
	_, err = c.health.Check(ctx, &healthpb.HealthCheckRequest{})
	answered(err, true)
	want := []string{
		"grpc acquire: map[LOCK_HELD:1 OK:1]",
		"grpc check_token: map[OK:1]",
		"grpc get_mesh: map[OK:1]",
		"original unlock: map[INVALID_ARGUMENT:1]",
	}
	if got := countedBy(calls); !slices.Equal(got, want) {
		t.Errorf("counted\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{"Acquire": "acquire", "CheckToken": "check_token", "GetMesh": "get_mesh"} {
		if got := snake(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}
