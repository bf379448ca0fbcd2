package secure

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// Those who ask at the same time share one answer.
func TestOneQuestionAtATime(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		c := NewCredential(t.Context(), func(context.Context) (string, error) {
			asked.Add(1)
			time.Sleep(100 * time.Millisecond)
			return "a", nil
		}, false, func(err error) { t.Error(err) })
		var work sync.WaitGroup
		for range 10 {
			work.Go(func() {
				if token, err := c.Fresh(t.Context()); err != nil || token.String() != "a" {
					t.Errorf("%v, %v", token, err)
				}
			})
		}
		work.Wait()
		first := c.Newest()
		if asked.Load() != 1 || first == nil {
			t.Errorf("asked %d times", asked.Load())
		}
		if token, err := c.Known(t.Context()); token != first || err != nil || asked.Load() != 1 {
			t.Errorf("a known token: %v, %v, asked %d times", token, err, asked.Load())
		}
		c.Connected()
		if token, err := c.Known(t.Context()); token != first || err != nil || asked.Load() != 2 {
			t.Errorf("after a connection: %v, %v, asked %d times", token, err, asked.Load())
		}
		if c.Replace(t.Context(), first) {
			t.Error("the same token replaces itself")
		}
		if !c.Replace(t.Context(), &Token{text: "older"}) || asked.Load() != 3 {
			t.Errorf("a token that is not the newest needs no question: %d were asked", asked.Load())
		}
	})
}

// A function that ignores its context is asked again in the end, and its late answer is dropped.
func TestHungQuestion(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		c := NewCredential(t.Context(), func(context.Context) (string, error) {
			if asked.Add(1) == 1 {
				time.Sleep(time.Hour)
				return "late", nil
			}
			return "a", nil
		}, false, func(err error) { t.Error(err) })
		began := time.Now()
		if _, err := c.Fresh(t.Context()); err == nil || time.Since(began) != longestAsk {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		synctest.Wait()
		if token, err := c.Fresh(t.Context()); err != nil || token.String() != "a" {
			t.Errorf("%v, %v", token, err)
		}
		time.Sleep(2 * time.Hour)
		if token := c.Newest().String(); token != "a" {
			t.Errorf("the newest token is %q", token)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if token, err := NewCredential(ctx, c.token, false, nil).Fresh(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v, %v", token, err)
		}
	})
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"slk_a_b-._~+/=":                "",
		"a b":                           "byte 1",
		"a\n":                           "byte 1",
		"\u00e9":                        "byte 0",
		"a\x7f":                         "byte 1",
		strings.Repeat("a", maxToken):   "",
		strings.Repeat("a", maxToken+1): "at most",
	} {
		err := check(text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.10q: %v, want %q", text, err, want)
		}
		if err != nil && len(text) > 2 && strings.Contains(err.Error(), text) {
			t.Errorf("%.10q: the error shows the token: %v", text, err)
		}
	}
}

func TestHostOf(t *testing.T) {
	for addr, want := range map[string]string{"a.example:1": "a.example", "[::1]:1": "::1", ":1": "localhost", "a": "a"} {
		if got := hostOf(addr); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
}
