package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
)

const (
	// longestAsk bounds a question for a token, and briefAsk is how long it is waited for if an
	// older token is there.
	longestAsk = 10 * time.Second
	briefAsk   = 500 * time.Millisecond
)

// Token is a bearer token. Two tokens are the same if their pointers are.
type Token struct {
	text     string
	metadata map[string]string
}

// String returns the token as it is sent, or "" if there is no token.
func (t *Token) String() string { return t.text }

// Credential is the bearer token of a client, which its user may replace. It is safe for concurrent
// use.
type Credential struct {
	life  context.Context //nolint:containedctx // a lifetime
	token func(ctx context.Context) (string, error)
	// plaintext: the token may be sent in clear text to other machines.
	plaintext bool
	warn      func(error)

	// newest is the newest token; nil if there was none yet.
	newest atomic.Pointer[Token]
	// stale: a connection was made since the newest token came.
	stale atomic.Bool

	mu sync.Mutex
	// asked is the question under way, or nil. Guarded by mu.
	asked *question
}

// question is one call of Credential.token. token and err are set before done is closed.
type question struct {
	done  chan struct{}
	token *Token
	err   error
}

// NewCredential returns a credential whose tokens come from a function, which is called until life
// ends, once at a time. warn is called with its errors when an older token is used.
func NewCredential(life context.Context, token func(ctx context.Context) (string, error), plaintext bool, warn func(error)) *Credential {
	return &Credential{life: life, token: token, plaintext: plaintext, warn: warn}
}

// TokenError is the failure to get a token. It is sharelock.ErrUnauthenticated.
type TokenError struct{ Err error }

// Error implements error.
func (e *TokenError) Error() string { return fmt.Sprintf("get a token: %v", e.Err) }

// Unwrap returns the reason.
func (e *TokenError) Unwrap() error { return e.Err }

// Is makes it an ErrUnauthenticated.
func (e *TokenError) Is(target error) bool { return target == sharelock.ErrUnauthenticated } //nolint:errorlint // a sentinel

// GRPCStatus makes it one for gRPC, too.
func (e *TokenError) GRPCStatus() *status.Status { return status.New(codes.Unauthenticated, e.Error()) }

// Newest returns the newest token, or nil. A nil Credential has none.
func (c *Credential) Newest() *Token {
	if c == nil {
		return nil
	}
	return c.newest.Load()
}

// Fresh asks for a token, for a new connection. If none comes soon it returns the newest one, if there
// is any.
func (c *Credential) Fresh(ctx context.Context) (*Token, error) {
	older, wait := c.newest.Load(), longestAsk
	if older != nil {
		wait = briefAsk
	}
	t, err := c.ask(ctx, wait)
	if err != nil && older != nil {
		c.warn(err)
		return older, nil
	}
	return t, err
}

// Known returns the newest token, and asks for one if there is none, or if a connection was made since
// it came.
func (c *Credential) Known(ctx context.Context) (*Token, error) {
	if t := c.newest.Load(); t != nil && !c.stale.Swap(false) {
		return t, nil
	}
	return c.Fresh(ctx)
}

// Connected makes the next call of Known ask for a token.
func (c *Credential) Connected() { c.stale.Store(true) }

// Replace reports whether there is another token than one that was refused, which may be nil if it is
// not known. It asks for one if that is the newest.
func (c *Credential) Replace(ctx context.Context, refused *Token) bool {
	if c.newest.Load() != refused {
		return true
	}
	t, err := c.ask(ctx, longestAsk)
	if err != nil {
		c.warn(err)
	}
	return err == nil && t != refused
}

// ask waits for the answer to the question under way, or asks.
func (c *Credential) ask(ctx context.Context, wait time.Duration) (*Token, error) {
	c.mu.Lock()
	q := c.asked
	if q == nil {
		q = &question{done: make(chan struct{})}
		c.asked = q
		go c.put(q)
	}
	c.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-q.done:
		return q.token, q.err
	case <-timer.C:
		return nil, &TokenError{fmt.Errorf("no answer for %v", wait)}
	case <-ctx.Done():
		return nil, &TokenError{ctx.Err()}
	}
}

// put asks the question. A function that does not return with its context is left behind.
func (c *Credential) put(q *question) {
	ctx, cancel := context.WithTimeout(c.life, longestAsk)
	defer cancel()
	type answer struct {
		text string
		err  error
	}
	came := make(chan answer, 1)
	go func() {
		text, err := c.token(ctx)
		came <- answer{text, err}
	}()
	var a answer
	select {
	case a = <-came:
	case <-ctx.Done():
		a.err = ctx.Err()
	}
	if a.err == nil {
		a.err = check(a.text)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = nil
	if a.err != nil {
		q.err = &TokenError{a.err}
	} else {
		q.token = c.take(a.text)
	}
	close(q.done)
}

// take makes a token the newest. One that is the same as before stays it.
func (c *Credential) take(text string) *Token {
	if t := c.newest.Load(); t != nil && t.text == text {
		return t
	}
	t := &Token{text: text}
	if text != "" {
		t.metadata = map[string]string{"authorization": "Bearer " + text}
	}
	c.newest.Store(t)
	return t
}

// maxToken is the maximum length of a token in bytes: gRPC servers take about 8 KiB of headers.
const maxToken = 6 << 10

// check returns an error if a text cannot be sent as a token.
func check(text string) error {
	if len(text) > maxToken {
		return fmt.Errorf("the token has %d bytes, at most %d are allowed", len(text), maxToken)
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return fmt.Errorf("byte %d of the token is %q: only printable ASCII without spaces is allowed", i, text[i])
		}
	}
	return nil
}

// PlaintextError refuses to send a token in clear text.
type PlaintextError struct{ Addr string }

// Error implements error.
func (e *PlaintextError) Error() string {
	return fmt.Sprintf("the token is not sent in clear text to %s, which is another machine: use TLS, or allow it", e.Addr)
}

// Is makes it an ErrInvalidArgument.
func (e *PlaintextError) Is(target error) bool { return target == sharelock.ErrInvalidArgument } //nolint:errorlint // a sentinel

// GRPCStatus makes it a failure of the connection: another may be allowed to carry the token.
func (e *PlaintextError) GRPCStatus() *status.Status {
	return status.New(codes.Unavailable, e.Error())
}

// Allow returns a *[PlaintextError] if the token must not be sent over a connection.
func (c *Credential) Allow(conn net.Conn) error {
	if _, ok := conn.(*tls.Conn); ok || c.plaintext || local(conn) {
		return nil
	}
	return &PlaintextError{Addr: addrOf(conn)}
}

// local reports whether the other end of a connection is on this machine.
func local(conn net.Conn) bool {
	switch a := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	default:
		return false
	}
}

func addrOf(conn net.Conn) string {
	if a := conn.RemoteAddr(); a != nil {
		return a.String()
	}
	return "an unknown address"
}

// IsUseless reports whether an error says that an address is of no use whatever is tried again: TLS
// was refused, or a token must not be sent there.
func IsUseless(err error) bool {
	_, refused := errors.AsType[*Error](err)
	_, plain := errors.AsType[*PlaintextError](err)
	return refused || plain
}

// Denied reports whether a node has refused a call for who makes it: its credential, or what it may do.
func Denied(err error) bool {
	return errors.Is(err, sharelock.ErrUnauthenticated) || errors.Is(err, sharelock.ErrPermissionDenied)
}
