package client

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// Done closes exactly when max_hold is over, with ErrMaxHold, whether the session or the client renews
// the lock. Contexts of the lock end before that, and no renewal is sent after it.
func TestMaxHold(t *testing.T) {
	const longest = 25 * time.Second
	for name, opts := range map[string][]Option{
		"renewed":            {TTL(9 * time.Second), MaxHold(longest)},
		"shorter than a TTL": {TTL(time.Minute), MaxHold(longest)},
		"not renewed":        {TTL(time.Minute), MaxHold(longest), NoRenew()},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
				began := time.Now()
				l := mustAcquire(t, c, "k", opts...)
				if h := l.Hold(); h.MaxHold != longest || h.EndsIn != longest || l.Remaining() > longest {
					t.Errorf("hold %+v, %v remain", h, l.Remaining())
				}
				work, cancel := l.Context(t.Context())
				defer cancel()
				<-work.Done()
				if at := time.Since(began); at > longest || at < longest-6*time.Second {
					t.Errorf("the context ended after %v", at)
				}
				<-l.Done()
				if held := time.Since(began); held != longest {
					t.Errorf("Done after %v, want %v", held, longest)
				}
				wantErr(t, "Err", l.Err(), ErrMaxHold)
				wantErr(t, "Err", l.Err(), ErrLost)
				asked := len(m.seen("Renew"))
				time.Sleep(time.Second)
				if n := len(m.seen("Renew")); n != asked {
					t.Errorf("%d renewals after the end", n-asked)
				}
				// The owner has it for longer: the next in line need not wait for that.
				wantErr(t, "Release", l.Release(t.Context()), ErrMaxHold)
				if token, _ := m.holder("k"); token != 0 {
					t.Error("the release was not sent")
				}
			})
		})
	}
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		for _, d := range []time.Duration{-1, 1, 101 * 24 * time.Hour} {
			_, err := c.Acquire(t.Context(), "k", MaxHold(d))
			e, _ := errors.AsType[*sharelock.Error](err)
			if wantErr(t, "Acquire", err, sharelock.ErrInvalidArgument); e == nil || e.Field != "max_hold" {
				t.Errorf("MaxHold(%v): %v", d, err)
			}
		}
	})
}

// A renewal with Metadata changes it at the owner and in the Lock, without it keeps it, and with
// an empty one takes it away; if it fails the lock is what it was.
func TestRenewWithMetadata(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k", TTL(9*time.Second), Metadata(map[string]string{"step": "1"}))
		want := func(step string) {
			t.Helper()
			m.mu.Lock()
			got := m.lock("k").hold.Metadata
			m.mu.Unlock()
			if mine := l.Hold().Metadata; got["step"] != step || mine["step"] != step || step == "" && len(got)+len(mine) > 0 {
				t.Errorf("the owner has %v, the lock %v, want step %q", got, mine, step)
			}
		}
		renew := func(opts ...Option) {
			t.Helper()
			if err := l.Renew(t.Context(), 0, opts...); err != nil {
				t.Errorf("Renew: %v", err)
			}
		}
		want("1")
		renew(Metadata(map[string]string{"step": "2"}))
		want("2")
		renew()
		want("2")
		time.Sleep(time.Minute) // of renewals
		want("2")
		m.setFault(func(call fakeCall) fault {
			if req, ok := call.Req.(interface{ GetMetadata() map[string]string }); ok && call.Method == "Renew" && len(req.GetMetadata()) > 0 {
				return fault{before: sharelockv1.ToStatus(&sharelock.Error{Err: sharelock.ErrQuota}).Err()}
			}
			return fault{}
		})
		wantErr(t, "Renew", l.Renew(t.Context(), 0, Metadata(map[string]string{"step": "3"})), sharelock.ErrQuota)
		time.Sleep(time.Minute)
		want("2")
		renew(Metadata(map[string]string{}))
		want("")
		for name, o := range map[string]Option{"another option": TTL(time.Second), "too much": Metadata(map[string]string{"a": string(make([]byte, 3000))})} {
			err := l.Renew(t.Context(), 0, o)
			if wantErr(t, name, err, sharelock.ErrInvalidArgument); l.Err() != nil {
				t.Errorf("%s: the lock ended: %v", name, l.Err())
			}
		}
	})
}

// The function of OnQueued runs in its own goroutine. If it blocks, the acquire, other locks and Close go
// on, and its next call gets the newest position.
func TestOnQueued(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		first := mustAcquire(t, c, "k", TTL(9*time.Second))
		second := make(chan *Lock, 1)
		go func() { second <- mustAcquire(t, c, "k", Wait(time.Hour)) }()
		synctest.Wait()
		var (
			mu   sync.Mutex
			told []int
		)
		block := make(chan struct{})
		third := make(chan *Lock, 1)
		go func() {
			third <- mustAcquire(t, c, "k", Wait(time.Hour), OnQueued(func(position int) {
				mu.Lock()
				told = append(told, position)
				mu.Unlock()
				<-block
			}))
		}()
		want := func(positions ...int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(told) != len(positions) || len(told) > 0 && told[len(told)-1] != positions[len(told)-1] {
				t.Errorf("told %v, want %v", told, positions)
			}
		}
		want(2)
		time.Sleep(time.Minute) // the function blocks, and the first lock lives
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		l := <-second
		want(2) // still in its first call
		block <- struct{}{}
		want(2, 1)
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		l = <-third
		if err := errors.Join(l.Release(t.Context()), c.Close()); err != nil {
			t.Fatal(err)
		}
		close(block)
		want(2, 1)
	})
}
