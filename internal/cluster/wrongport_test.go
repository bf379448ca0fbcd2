package cluster_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// A client at a wrong port of a node is told so at once, in any protocol. The ports keep working.
func TestWrongPorts(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Nodes: 1})
	ctx := limited(t)
	at := c.Addrs(0)
	port := func(addr string) string {
		_, p, err := net.SplitHostPort(addr)
		must(t, err)
		return p
	}
	for kind, addr := range map[string]string{"HTTP": at.HTTP, "peer": at.Peer, "gossip": at.Gossip} {
		for name, opts := range map[string]client.Options{
			"auto": {}, "plain": {Transport: client.TransportPlain}, "gRPC": {Transport: client.TransportGRPC},
			"options": {DialOptions: []grpc.DialOption{grpc.WithUserAgent("test")}},
		} {
			opts.Patience = time.Hour
			_, err := client.Dial(ctx, []string{addr}, opts)
			want := fmt.Sprintf("dial: wrong port: %s is the %s port of node %s; gRPC is %s", port(addr), kind, c.Name(0), port(at.GRPC))
			if !errors.Is(err, sharelock.ErrWrongPort) || err.Error() != want {
				t.Errorf("%s at the %s port: %v, want %q", name, kind, err, want)
			}
			// Together with a correct address it does no harm.
			both, err := client.Dial(ctx, []string{addr, at.GRPC}, opts)
			if err != nil {
				t.Errorf("%s at the %s port and the right one: %v", name, kind, err)
				continue
			}
			l, err := both.Acquire(ctx, "k")
			if err == nil {
				err = l.Release(ctx)
			}
			if err = errors.Join(err, both.Close()); err != nil {
				t.Errorf("%s at the %s port and the right one: %v", name, kind, err)
			}
		}
	}
	// The HTTP port still works.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.HTTP+"/readyz", nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	must(t, errors.Join(err, resp.Body.Close()))
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 1 {
		t.Errorf("HTTP: %s %s", resp.Proto, resp.Status)
	}
	http.DefaultClient.CloseIdleConnections()
}
