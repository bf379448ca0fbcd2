package auth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/caller"
)

// pollInterval is how often the file is read again, and how often the observers are called.
const pollInterval = 3 * time.Second

// MaxBearerBytes bounds a token or a JWT.
const MaxBearerBytes = 8 << 10

// Config configures an [Authority].
type Config struct {
	// File is the path of the auth file.
	File string
	// AllowPlaintextTokens accepts tokens that arrive over plain text from other hosts.
	AllowPlaintextTokens bool
	// Audit records changes of the file; nil records nothing.
	Audit *audit.Log
	// Log is required.
	Log *slog.Logger
	// Now returns the time of day; nil uses the system's.
	Now func() time.Time
	// HTTP calls issuers; nil uses the default client.
	HTTP *http.Client
}

// Credentials are what a caller has presented.
type Credentials struct {
	// Bearer is a token or a JWT; empty for none.
	Bearer string
	// Certificate is the caller's, which TLS has verified; nil for none.
	Certificate *x509.Certificate
	// From is the caller's address; the zero value if it has none.
	From netip.Addr
	// Plain is set if the credentials came over plain text.
	Plain bool
}

// Authority knows the principals and the rules of an auth file. Make it with [Open]; [Authority.Run]
// follows the changes of the file. All methods are safe for concurrent use.
type Authority struct {
	cfg    Config
	remote *remoteKeys
	now    atomic.Pointer[rules]
	// reloads and failedReloads count the changes of the file.
	reloads, failedReloads atomic.Uint64
	guesses                guesses
	failures               failures

	mu        sync.Mutex
	observers []func() // guarded by mu

	// reading is held while the file is read. It guards problem, which is what is wrong with the
	// file now, so that it is logged once.
	reading sync.Mutex
	problem string
}

// Open reads the auth file.
func Open(cfg Config) (*Authority, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &Authority{cfg: cfg, remote: &remoteKeys{client: cfg.HTTP, now: cfg.Now, log: cfg.Log}}
	r, err := load(cfg.File, a.remote)
	if err != nil {
		return nil, fmt.Errorf("auth.file: %w", err)
	}
	a.now.Store(r)
	return a, nil
}

// Hash returns a name for the content of the file, which differs when the content does.
func (a *Authority) Hash() string { return a.now.Load().hash }

// Reloads returns how often a change of the file was taken, and how often it was refused.
func (a *Authority) Reloads() (done, failed uint64) {
	return a.reloads.Load(), a.failedReloads.Load()
}

// Failures returns how often callers could not be authenticated, by reason.
func (a *Authority) Failures() map[string]uint64 { return a.failures.counts() }

// Limits returns the limits of a principal, by its name; none if the file does not have it.
func (a *Authority) Limits(principal string) Limits {
	if p, ok := a.now.Load().named(principal); ok {
		return p.limits
	}
	return Limits{}
}

// Observe has f called after every change of the file, and from time to time, since credentials
// expire. It must not block.
func (a *Authority) Observe(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.observers = append(a.observers, f)
}

// Reload reads the file at once. A bad file is an error and changes nothing.
func (a *Authority) Reload() error {
	err := a.read(true)
	a.observed()
	return err
}

// Run follows the changes of the file until ctx ends.
func (a *Authority) Run(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_ = a.read(false) // it is in the log
		a.observed()
	}
}

// observed calls the observers.
func (a *Authority) observed() {
	a.mu.Lock()
	observers := a.observers
	a.mu.Unlock()
	for _, f := range observers {
		f()
	}
}

// read loads the file if it has changed. A bad file changes nothing, and is logged unless it was
// logged already; asked is set if the caller wants it logged again.
func (a *Authority) read(asked bool) error {
	a.reading.Lock()
	defer a.reading.Unlock()
	r, err := load(a.cfg.File, a.remote)
	if err != nil {
		if asked || a.problem != err.Error() {
			a.problem = err.Error()
			a.failedReloads.Add(1)
			a.recorded(audit.Failed, err.Error())
			a.cfg.Log.Error("the auth file is bad; the rules stay as they were", "file", a.cfg.File, "error", err)
		}
		return fmt.Errorf("auth.file: %w", err)
	}
	a.problem = ""
	if r.hash != a.Hash() {
		a.now.Store(r)
		a.reloads.Add(1)
		a.recorded(audit.Reloaded, "hash "+r.hash)
		a.cfg.Log.Info("the auth file has changed", "file", a.cfg.File, "hash", r.hash)
	}
	return nil
}

// recorded records a change of the file.
func (a *Authority) recorded(result, reason string) {
	a.cfg.Audit.Record(context.Background(), audit.Event{Method: "auth.file", Result: result, Reason: reason})
}

// Authenticate returns who presents the credentials. A bearer token that is presented must be good,
// even if there is a certificate, too. Without any credentials that the file knows the caller is
// [caller.Anonymous].
func (a *Authority) Authenticate(ctx context.Context, c Credentials) (*Identity, error) {
	r := a.now.Load()
	if c.Bearer == "" {
		return r.certificate(certificateNamesOf(c.Certificate)), nil
	}
	if c.Plain && !a.cfg.AllowPlaintextTokens && !c.From.Unmap().IsLoopback() {
		return nil, a.refuse("plaintext", "a token came over plain text and is not taken, because others may have read it; use TLS (tls.cert_file), or set auth.allow_plaintext_tokens")
	}
	now := a.cfg.Now()
	wait := a.guesses.limited(c.From, now)
	id, why, err := a.bearer(ctx, r, c.Bearer, wait > 0)
	switch {
	case err == nil:
		return id, nil
	case wait > 0:
		return nil, a.refuse("limited", fmt.Sprintf("too many bad credentials came from this address; try again in %v", wait.Round(time.Second)+time.Second))
	default:
		a.guesses.failed(c.From, now)
		return nil, a.refuse(why, err.Error())
	}
}

// errUnproven refuses credentials that may not be examined now.
var errUnproven = errors.New("unproven")

// bearer finds the principal of a token or a JWT. If provenOnly is set, it takes only those that
// were proven before. why is the reason for counting.
func (a *Authority) bearer(ctx context.Context, r *rules, bearer string, provenOnly bool) (id *Identity, why string, err error) {
	if len(bearer) > MaxBearerBytes {
		return nil, "malformed", fmt.Errorf("the token has %d bytes, the most is %d", len(bearer), MaxBearerBytes)
	}
	hash := sha256.Sum256([]byte(bearer))
	if !strings.HasPrefix(bearer, tokenPrefix) {
		return a.jwt(ctx, r, bearer, hash, provenOnly)
	}
	public, err := parseToken(bearer)
	if err != nil {
		return nil, "malformed", err
	}
	t := r.token(hash)
	switch {
	case t == nil:
		return nil, "unknown_token", fmt.Errorf("the token with the id %s is not in the auth file", public)
	case provenOnly && !t.proven.Load():
		return nil, "", errUnproven
	}
	t.proven.Store(true)
	return t.identity(public), "", nil
}

func (t *storedToken) identity(public string) *Identity {
	return &Identity{rules: t.owner, name: t.owner.name, kind: Token, id: public, hash: t.hash}
}

func (a *Authority) jwt(ctx context.Context, r *rules, raw string, hash [sha256.Size]byte, provenOnly bool) (*Identity, string, error) {
	if strings.Count(raw, ".") != 2 {
		return nil, "malformed", errors.New(`the token is neither one of ShareLock ("slk_…") nor a JWT`)
	}
	if id := r.verified.get(hash, a.cfg.Now()); id != nil {
		return id, "", nil
	}
	if provenOnly {
		return nil, "", errUnproven
	}
	id, err := r.jwt(ctx, raw)
	if err != nil {
		return nil, "jwt", fmt.Errorf("the JWT is not valid: %w", invalidity(err))
	}
	r.verified.put(hash, id, a.cfg.Now())
	return id, "", nil
}

// refuse returns and counts the error of credentials that are not good.
func (a *Authority) refuse(why, message string) error {
	a.failures.add(why)
	return &sharelock.Error{Err: sharelock.ErrUnauthenticated, Message: message}
}

// Refresh returns an identity under the newest rules, or an error if its credentials are no longer
// good. It does not block.
func (a *Authority) Refresh(id *Identity) (*Identity, error) {
	r := a.now.Load()
	switch id.kind {
	case Token:
		t := r.token(id.hash)
		if t == nil {
			return nil, a.refuse("revoked", fmt.Sprintf("the token with the id %s is not in the auth file any more", id.id))
		}
		t.proven.Store(true)
		return t.identity(id.id), nil
	case JWT:
		now, err := r.again(id.claims, a.cfg.Now())
		if err != nil {
			return nil, a.refuse("jwt", fmt.Sprintf("the JWT is not valid any more: %v", invalidity(err)))
		}
		return now, nil
	default:
		return r.certificate(id.names), nil
	}
}

// Expired returns the error of an identity whose credentials have run out, or nil.
func (a *Authority) Expired(id *Identity) error {
	if id.claims == nil || id.claims.expires.After(a.cfg.Now()) {
		return nil
	}
	return a.refuse("expired", fmt.Sprintf("the JWT of %q has expired; send a new one", id.name))
}

// As returns the identity of a principal by its name, to find out what it may do.
func (a *Authority) As(name string) (*Identity, error) {
	r := a.now.Load()
	p, ok := r.named(name)
	if !ok {
		return nil, fmt.Errorf("there is no principal %q", name)
	}
	id := &Identity{rules: p, name: name, kind: Token}
	if name == caller.Anonymous {
		id.kind = None
	}
	return id, nil
}

// certificateNamesOf returns the names of a certificate, which may be nil.
func certificateNamesOf(c *x509.Certificate) []string {
	if c == nil {
		return nil
	}
	return certificateNames(c)
}

// certificate returns the identity of a certificate with these names: that of the first known name,
// or that of a caller without credentials.
func (r *rules) certificate(names []string) *Identity {
	for _, name := range names {
		if p := r.certs[name]; p != nil {
			return &Identity{rules: p, name: p.name, kind: Certificate, id: name, names: names}
		}
	}
	return &Identity{rules: r.anonymous, name: caller.Anonymous, kind: None, names: names}
}

// failures counts failures by reason.
type failures struct {
	mu  sync.Mutex
	all map[string]uint64 // guarded by mu
}

func (f *failures) add(why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[string]uint64{}
	}
	f.all[why]++
}

func (f *failures) counts() map[string]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.all)
}
