package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
)

const (
	// proxyIdle is how long the proxy of these tests keeps a silent connection.
	proxyIdle = time.Minute
	// slice is the longest wait that docs/clients.md recommends for one request of an HTTP client.
	slice = 25 * time.Second
	// longWait is the wait in these tests, which the proxy would cut three times.
	longWait = 4 * time.Minute
)

// proxied is a connection through a proxy that closes it on both sides when neither has sent
// anything for proxyIdle.
type proxied struct {
	net.Conn
	idle *time.Timer
}

// proxy opens connections through the proxy, and counts those that it has cut.
type proxy struct {
	c   *cluster.Cluster
	cut atomic.Int64
}

func (p *proxy) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := p.c.DialContext(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &proxied{conn, time.AfterFunc(proxyIdle, func() {
		p.cut.Add(1)
		_ = conn.Close() // it may have been closed already
	})}, nil
}

func (c *proxied) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.idle.Reset(proxyIdle)
	return n, err
}

func (c *proxied) Write(b []byte) (int, error) {
	c.idle.Reset(proxyIdle)
	return c.Conn.Write(b)
}

func (c *proxied) Close() error {
	c.idle.Stop()
	return c.Conn.Close()
}

// web is an HTTP client behind the proxy.
func (p *proxy) web() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, addr string) (net.Conn, error) { return p.dial(ctx, addr) },
	}}
}

// post sends one acquire and returns the token of its grant.
func (p *proxy) post(ctx context.Context, node int, key, id string, wait time.Duration) (string, error) {
	body := fmt.Sprintf(`{"clientId":"web","requestId":%q,"wait":"%v","ttl":"10s"}`, id, wait)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.c.Addrs(node).HTTP+"/v1/locks/"+key, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := p.web().Do(req)
	if err != nil {
		return "", err
	}
	var answer struct{ Hold struct{ Token string } }
	text, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	if err != nil {
		return "", err
	}
	return answer.Hold.Token, errors.Join(json.Unmarshal(text, &answer), tokenless(answer.Hold.Token))
}

func tokenless(token string) error {
	if token == "" {
		return errors.New("an answer without a token")
	}
	return nil
}

// inSlices is post as docs/clients.md recommends: one request after the other, each at another node,
// with one request id and the rest of the wait.
func (p *proxy) inSlices(ctx context.Context, key, id string, wait time.Duration) (token string, requests int, _ error) {
	for end := time.Now().Add(wait); ; {
		trying, cancel := context.WithTimeout(ctx, slice)
		token, err := p.post(trying, requests%p.c.Len(), key, id, max(time.Until(end), 0))
		cancel()
		requests++
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return token, requests, err
		}
	}
}

// A long wait over HTTP behind a proxy that cuts silent requests. In one piece it is cut. In slices
// with one request id it keeps its place before those that came later, and is granted once (Q5).
func TestSimHTTPWaitInSlices(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		ctx := patient(t)
		p := &proxy{c: c}
		holder, err := c.Client(0).Acquire(ctx, "k")
		must(t, err)
		type end struct {
			token    string
			requests int
			err      error
		}
		sliced, whole := make(chan end, 1), make(chan end, 1)
		go func() {
			token, requests, err := p.inSlices(ctx, "k", "sliced", longWait)
			sliced <- end{token, requests, err}
		}()
		until(ctx, t, "the first waits", func() bool {
			l, err := c.Node(0).Get(ctx, "k")
			return err == nil && len(l.Waiters) == 1
		})
		second := make(chan *client.Lock, 1)
		go func() {
			defer close(second)
			l, err := c.Client(1).Acquire(ctx, "k", client.Wait(2*longWait))
			if err != nil {
				t.Error(err)
				return
			}
			second <- l
		}()
		go func() {
			token, err := p.post(ctx, 2, "k", "whole", longWait)
			whole <- end{token, 1, err}
		}()
		pause(ctx, longWait*3/4-slice/2)
		if len(second) > 0 {
			t.Fatal("the second is granted while the key is held")
		}
		must(t, holder.Release(ctx))
		var next sharelock.Hold
		until(ctx, t, "the key has changed hands", func() bool {
			l, err := c.Node(0).Get(ctx, "k")
			if err == nil && len(l.Holds) > 0 {
				next = l.Holds[0]
			}
			return next.Token > holder.Token()
		})
		if next.RequestID != "sliced" {
			t.Fatalf("the key is held by %s with request %q, want the one that came first", next.ClientID, next.RequestID)
		}
		if got := <-sliced; got.err != nil || got.token != next.Token.String() || got.requests < 4 {
			t.Fatalf("after %d requests the wait in slices ended with token %q and %v; the key is held with %v", got.requests, got.token, got.err, next.Token)
		}
		if got := <-whole; got.err == nil || p.cut.Load() == 0 {
			t.Errorf("the wait in one piece ended with token %q, and the proxy has cut %d connections", got.token, p.cut.Load())
		}
		_, err = c.Node(2).Release(ctx, "k", next.Token, false)
		must(t, err)
		l := <-second
		if l == nil {
			return
		}
		must(t, l.Release(ctx))
		pause(ctx, sceneTTL)
		if _, err := c.Node(0).Get(ctx, "k"); !errors.Is(err, sharelock.ErrNotHeld) {
			t.Errorf("at the end the key is not free: %v", err)
		}
	})
}

// The Go client behind the same proxy waits in one piece, over both transports, and keeps an idle
// lock, because it sends pings and keepalives.
func TestSimClientBehindAProxy(t *testing.T) {
	for _, transport := range []client.Transport{client.TransportPlain, client.TransportGRPC} {
		t.Run(fmt.Sprint(transport), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c := scene(t, 1, 1)
				ctx := patient(t)
				p := &proxy{c: c}
				cl, err := c.Dial(ctx, client.Options{ClientID: "behind", Transport: transport, Dialer: p.dial})
				must(t, err)
				own, err := cl.Acquire(ctx, "own")
				must(t, err)
				holder, err := c.Client(0).Acquire(ctx, "k")
				must(t, err)
				granted := make(chan error, 1)
				go func() {
					_, err := cl.Acquire(ctx, "k", client.Wait(longWait))
					granted <- err
				}()
				pause(ctx, longWait*3/4)
				must(t, holder.Release(ctx))
				must(t, <-granted)
				must(t, own.Err())
				if n := p.cut.Load(); n > 0 {
					t.Errorf("the proxy has cut %d connections", n)
				}
			})
		})
	}
}
