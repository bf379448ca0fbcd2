package dial

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// hostsOf returns a dialer of a host with these addresses, each of which does as it says.
func hostsOf(addrs map[string]func(ctx context.Context) (net.Conn, error), order ...string) *Dialer {
	return &Dialer{
		lookup: func(context.Context, string) ([]string, error) { return order, nil },
		direct: func(ctx context.Context, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return addrs[host](ctx)
		},
	}
}

// RFC 8305: a host's first address that swallows connections, or accepts and says nothing,
// does not hold up the second.
func TestSecondAddress(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var ends sync.WaitGroup
		answering := func(answers bool) func(ctx context.Context) (net.Conn, error) {
			return func(context.Context) (net.Conn, error) {
				near, far := net.Pipe()
				ends.Go(func() {
					b := make([]byte, 1)
					if _, err := far.Read(b); err == nil && answers {
						_, _ = far.Write(b)
					}
					_, _ = io.Copy(io.Discard, far)
				})
				return near, nil
			}
		}
		greet := func(_ context.Context, conn net.Conn) (net.Conn, error) {
			if _, err := conn.Write([]byte{1}); err != nil {
				return nil, err
			}
			_, err := conn.Read(make([]byte, 1))
			return conn, err
		}
		addrs := map[string]func(ctx context.Context) (net.Conn, error){
			"good":    answering(true),
			"silent":  answering(false),
			"refuses": func(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED },
			"swallows": func(ctx context.Context) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		}
		for first, want := range map[string]time.Duration{"silent": nextAddress, "swallows": nextAddress, "refuses": 0} {
			began := time.Now()
			conn, err := hostsOf(addrs, first, "good").Dial(t.Context(), "host:1", greet)
			if err != nil {
				t.Fatalf("%s: %v", first, err)
			}
			if took := time.Since(began); took != want {
				t.Errorf("%s: took %v, want %v", first, took, want)
			}
			_ = conn.Close()
		}
		if _, err := hostsOf(addrs, "refuses", "refuses").Dial(t.Context(), "host:1", greet); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("all refuse: %v", err)
		}
		ends.Wait()
	})
}
