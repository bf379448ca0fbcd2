package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/fakenode"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// tokens are bearer tokens of which one is good at a time.
type tokens struct {
	mu    sync.Mutex
	good  string // guarded by mu
	given string // what get returns; guarded by mu
	err   error  // guarded by mu
	asked int    // guarded by mu
}

func (k *tokens) get(context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	return k.given, k.err
}

func (k *tokens) accepts(token string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return token == k.good
}

func (k *tokens) set(good, given string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.good, k.given, k.err = good, given, err
}

// times returns how often a token was asked for.
func (k *tokens) times() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}

// tokenBubble runs f with a client of a mesh that wants tokens: by gRPC in sessions, by gRPC call by
// call, and by sessions without gRPC. kept: f is about locks that sessions keep alive, which the fake
// without gRPC does not.
func tokenBubble(t *testing.T, kept bool, f func(t *testing.T, k *tokens, c *Client)) {
	t.Helper()
	for _, sessions := range []bool{true, false} {
		t.Run(fmt.Sprintf("sessions %v", sessions), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				k := &tokens{good: "t1", given: "t1"}
				m, opts := startMesh(t, "a:1", "b:1")
				m.set(func() { m.sessions, m.accepts = sessions, k.accepts })
				start := time.Now()
				c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(start) }), []string{"a:1", "b:1"}, Options{
					DialOptions: opts, Token: k.get, AllowPlaintextTokens: true,
				})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close() //nolint:errcheck // it is over
				f(t, k, c)
			})
		})
	}
	if kept {
		return
	}
	t.Run("plain", func(t *testing.T) {
		virtual.Test(t, func(t *testing.T) {
			k := &tokens{good: "t1", given: "t1"}
			c, err := dialWire(t, &fakenode.Node{Accepts: k.accepts}, Options{Token: k.get, AllowPlaintextTokens: true})
			if err != nil {
				t.Fatal(err)
			}
			f(t, k, c)
		})
	})
}

// A call whose token is refused is made again with another one, and fails if that is refused, too:
// at once, however long the patience is.
func TestTokenIsReplaced(t *testing.T) {
	tokenBubble(t, false, func(t *testing.T, k *tokens, c *Client) {
		pair(t, c)
		synctest.Wait()
		pair(t, c) // asks again if another connection was made meanwhile
		asked := k.times()
		pair(t, c)
		if k.times() != asked {
			t.Errorf("a token was asked for %d times more though it is good", k.times()-asked)
		}
		k.set("t2", "t2", nil)
		pair(t, c)
		k.set("t3", "t2", nil)
		began := time.Now()
		_, err := c.Acquire(t.Context(), "k")
		if !errors.Is(err, sharelock.ErrUnauthenticated) || time.Since(began) != 0 {
			t.Errorf("a refused token: %v after %v", err, time.Since(began))
		}
		k.set("t3", "t4", nil)
		if _, err := c.Acquire(t.Context(), "k"); !errors.Is(err, sharelock.ErrUnauthenticated) {
			t.Errorf("another refused token: %v", err)
		}
		k.set("t5", "t5", nil)
		pair(t, c)
	})
}

// A rotation loses no lock: the token that a session began with is good no more, and the function
// fails for a while.
func TestRotationLosesNoLock(t *testing.T) {
	tokenBubble(t, true, func(t *testing.T, k *tokens, c *Client) {
		locks := mustAcquireMany(t, c, 20, TTL(10*time.Second))
		for i := range 5 {
			good := fmt.Sprint("t", i+2)
			k.set(good, "old", errors.New("the vault is closed"))
			time.Sleep(3 * time.Second)
			k.set(good, good, nil)
			time.Sleep(30 * time.Second)
		}
		for _, l := range locks {
			if err := l.Err(); err != nil {
				t.Error(err)
			}
			if err := l.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// A lock whose renewals are refused until it runs out is lost for that reason.
func TestDeniedRenewals(t *testing.T) {
	for _, word := range []error{sharelock.ErrPermissionDenied, sharelock.ErrUnauthenticated} {
		bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
			l := mustAcquire(t, c, "k", TTL(9*time.Second))
			m.setFault(func(call fakeCall) fault {
				if call.Method == "Renew" {
					return fault{before: sharelockv1.ToStatus(fmt.Errorf("%w: acquire k", word)).Err()}
				}
				return fault{}
			})
			began := time.Now()
			<-l.Done()
			if err := l.Err(); !errors.Is(err, ErrLost) || !errors.Is(err, word) {
				t.Errorf("the lock: %v", err)
			}
			if took := time.Since(began); took != 9*time.Second {
				t.Errorf("it was lost after %v", took)
			}
			m.setFault(nil)
			_ = l.Release(t.Context())
		})
	}
}

// A denied call is not repeated.
func TestPermissionDeniedIsFinal(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(func(fakeCall) fault {
			return fault{before: sharelockv1.ToStatus(sharelock.ErrPermissionDenied).Err()}
		})
		began := time.Now()
		if _, err := c.Acquire(t.Context(), "k"); !errors.Is(err, sharelock.ErrPermissionDenied) || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if n := len(m.seen("Acquire")); n != 1 {
			t.Errorf("it was sent %d times", n)
		}
	})
}

// Without any token Dial fails at once with the reason, and a slow function holds up nothing once
// there is a token.
func TestNoToken(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		why := errors.New("the vault is closed")
		for _, transport := range []Transport{TransportPlain, TransportGRPC} {
			began := time.Now()
			m, _ := startMesh(t, "a:1")
			_, err := dialWire(t, &fakenode.Node{Behind: m.dial}, Options{
				Patience: time.Hour, Transport: transport, AllowPlaintextTokens: true,
				Token: func(context.Context) (string, error) { return "", why },
			})
			if !errors.Is(err, sharelock.ErrUnauthenticated) || !strings.Contains(err.Error(), why.Error()) || time.Since(began) != 0 {
				t.Errorf("transport %d: %v after %v", transport, err, time.Since(began))
			}
		}
	})
}

func TestSlowTokenFunction(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		end := make(chan struct{})
		defer close(end)
		c, err := dialWire(t, &fakenode.Node{Accepts: func(token string) bool { return token == "t" }}, Options{
			AllowPlaintextTokens: true,
			Token: func(context.Context) (string, error) {
				if hang.Load() {
					<-end // whatever happens to the context
				}
				return "t", nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		pair(t, c)
		hang.Store(true)
		for range 3 {
			c.nodes[0].session.Reset() // another stream is opened
			time.Sleep(20 * time.Second)
			began := time.Now()
			pair(t, c)
			if took := time.Since(began); took > time.Second {
				t.Errorf("a call took %v", took)
			}
		}
	})
}

// toOthers is a connection whose other end seems to be another machine.
type toOthers struct{ net.Conn }

// RemoteAddr implements net.Conn.
func (toOthers) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 50052}
}

// A token does not go over the network in clear text, unless that is allowed.
func TestTokenInClearText(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		for _, transport := range []Transport{TransportPlain, TransportGRPC} {
			m, _ := startMesh(t, "a:1")
			var heard atomic.Bool
			m.set(func() { m.accepts = func(token string) bool { heard.Store(heard.Load() || token != ""); return true } })
			f := &fakenode.Node{Behind: m.dial, Accepts: m.accepts}
			dial := func(ctx context.Context, addr string) (net.Conn, error) {
				conn, err := f.Dial(ctx, addr)
				return toOthers{conn}, err
			}
			for _, allow := range []bool{false, true} {
				began := time.Now()
				c, err := Dial(t.Context(), []string{"a:1"}, Options{
					Patience: time.Hour, Transport: transport, Dialer: dial, AllowPlaintextTokens: allow,
					Token: func(context.Context) (string, error) { return "secret", nil },
				})
				if err == nil {
					pair(t, c)
					_ = c.Close()
				}
				refused := errors.Is(err, sharelock.ErrInvalidArgument) && strings.Contains(err.Error(), "192.0.2.1:50052")
				if refused == allow || heard.Load() != allow || time.Since(began) > time.Second {
					t.Errorf("transport %d, allowed %v: %v after %v, heard: %v", transport, allow, err, time.Since(began), heard.Load())
				}
			}
		}
	})
}

// A session shows its token at once, whether it has anything to say or not.
func TestIdleSessionShowsItsToken(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &fakenode.Node{}
		token := func(context.Context) (string, error) { return "secret", nil }
		if _, err := dialWire(t, f, Options{Token: token, AllowPlaintextTokens: true}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		synctest.Wait()
		if got, _ := f.Presented.Load().(string); got != "secret" || time.Since(began) != 0 {
			t.Errorf("the node has got %q after %v", got, time.Since(began))
		}
	})
}

// A session that is refused as a whole for its credential is tried again with the next call, and not
// only after a pause.
func TestRefusedSessionIsTriedAgain(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		k := &tokens{good: "t1", given: "t1"}
		m, opts := startMesh(t, "a:1")
		m.set(func() { m.sessions, m.strict, m.accepts = true, true, k.accepts })
		start := time.Now()
		c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(start) }), []string{"a:1"}, Options{
			DialOptions: opts, Token: k.get, AllowPlaintextTokens: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // it is over
		pair(t, c)
		k.set("t2", "t1", nil)
		c.nodes[0].session.Reset() // another stream is opened
		synctest.Wait()
		for range 3 {
			if _, err := c.Acquire(t.Context(), "k"); !errors.Is(err, sharelock.ErrUnauthenticated) {
				t.Errorf("a refused session: %v", err)
			}
		}
		k.set("t2", "t2", nil)
		pair(t, c)
	})
}
