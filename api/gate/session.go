package gate

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// StrangerTime is how long a session may go on without good credentials if callers without any may
// do nothing. Its client can send other credentials meanwhile.
const StrangerTime = 10 * time.Second

// Guard is a session in the gate: who is at the other end, by its newest credentials. A session is
// authenticated by its first message, again by each message with a token, and again when the rules
// change. While its credentials are refused its calls are answered with the reason.
type Guard struct {
	gate    *Gate
	session Session
	remote  net.Addr
	// cred are the credentials of the connection, or of the gRPC call. Only the reader uses it.
	cred auth.Credentials
	// heard is set once the first message was authenticated. Only the reader uses it.
	heard bool

	mu sync.Mutex // guards what follows
	// who is the caller; nil while its credentials are refused, and refusal is the reason.
	who     *auth.Identity
	refusal error
	// since is when the session began to be a stranger's; zero while it is not.
	since time.Time
	// principal is that of the session's first good credentials; all later ones must be of it.
	principal string
	// release frees the session's place among the connections of the principal. It is nil without
	// a place, and then crowded is the reason. ended is set when the session is over, and takes none.
	release func()
	crowded error
	ended   bool
	// trail are the calls in flight that the audit log wants to know the end of.
	trail Trail
}

// errNotYet refuses what comes before the first message. Nothing does.
var errNotYet = &sharelock.Error{Err: sharelock.ErrUnauthenticated, Message: "the session has not sent a message yet"}

// Session is what a [Guard] guards. Its methods may be called from any goroutine, and do not block.
type Session interface {
	// Begin opens the session for its principal. It is called once, with the first good credentials.
	Begin(principal string)
	// Revoke takes back what allowed refuses; see Revoke of api.Session. It has no effect before
	// Begin.
	Revoke(allowed func(key string) (anyHold bool, err error))
	// End ends the session with an error, once everything is sent.
	End(err error)
}

// Guard returns the guard of a session that is about to begin, with the credentials of its
// connection; nil without authentication.
func (g *Gate) Guard(s Session, c auth.Credentials, remote net.Addr) *Guard {
	if !g.Authenticates() {
		return nil
	}
	return &Guard{gate: g, session: s, remote: remote, cred: c, refusal: errNotYet, since: time.Now()}
}

// Hear takes the credentials of a message, which apply to everything in it.
func (g *Guard) Hear(ctx context.Context, message []byte) error {
	token, err := sessionwire.ReadToken(message)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if g.heard && len(token) == 0 {
		return nil
	}
	g.heard = true
	c := g.cred
	if len(token) > 0 {
		c.Bearer = string(token)
	}
	who, err := g.gate.auth.Authenticate(ctx, c)
	if err != nil {
		v := g.visit(nil)
		v.refused(ctx, err)
		if g.stands() {
			return nil
		}
	}
	g.settle(nil, who, err)
	return nil
}

// stands reports whether the credentials that the session has are still good. A newer token that is
// refused then takes nothing away: this node may not have read yet of a token that was replaced, or
// may not reach its issuer.
func (g *Guard) stands() bool {
	who, err := g.caller()
	if err != nil {
		return false
	}
	_, err = g.gate.auth.Refresh(who)
	return err == nil
}

// settle takes the result of an authentication, opens the session if it is the first good one, and
// takes back what the caller may not have any more. If was is not nil, the result replaces that
// identity only: a message may have brought newer credentials meanwhile.
func (g *Guard) settle(was, who *auth.Identity, err error) {
	g.mu.Lock()
	if was != nil && g.who != was {
		g.mu.Unlock()
		return
	}
	first := err == nil && g.principal == ""
	switch {
	case first && g.ended:
		first, err = false, errNotYet
	case first:
		g.principal = who.Principal()
		g.crowded = g.connect(who)
	case err == nil && who.Principal() != g.principal:
		err = &sharelock.Error{Err: sharelock.ErrUnauthenticated, Message: fmt.Sprintf(
			"the session is of %q, and the credential of %q: open another session", g.principal, who.Principal())}
	}
	g.who, g.refusal = who, err
	switch {
	case err != nil:
		g.who = nil
		if g.since.IsZero() {
			g.since = time.Now()
		}
	case !who.Nobody():
		g.since = time.Time{}
	}
	principal := g.principal
	g.mu.Unlock()
	if first {
		g.session.Begin(principal)
		return
	}
	g.session.Revoke(g.allowed())
}

// connect takes a place among the connections of the principal. It needs mu.
func (g *Guard) connect(who *auth.Identity) (err error) {
	g.release, err = g.gate.quotas.Connect(who.Principal(), who.Limits().MaxConnections)
	return err
}

// placed returns nil if the session has a place among the connections of its principal, or gets one
// now. Without one it acquires nothing, but what it has may be renewed and released: a quota costs
// nobody a lock.
func (g *Guard) placed(who *auth.Identity) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.crowded != nil && !g.ended {
		g.crowded = g.connect(who)
	}
	return g.crowded
}

// Register makes the gate look at the session again when the rules change, until Leave.
func (g *Guard) Register() {
	g.gate.mu.Lock()
	defer g.gate.mu.Unlock()
	g.gate.sessions[g] = struct{}{}
}

// Leave ends what Register began, and frees the session's place in the quotas of its principal.
func (g *Guard) Leave() {
	g.gate.mu.Lock()
	delete(g.gate.sessions, g)
	g.gate.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	if g.release != nil {
		g.release()
	}
}

// Trail returns the calls in flight that the audit log wants to know the end of.
func (g *Guard) Trail() *Trail { return &g.trail }

// caller returns who is at the other end, or why nobody is.
func (g *Guard) caller() (*auth.Identity, error) {
	g.mu.Lock()
	who, err := g.who, g.refusal
	g.mu.Unlock()
	if err == nil {
		err = g.gate.auth.Expired(who)
	}
	return who, err
}

// look authenticates the session again under the newest rules.
func (g *Guard) look() {
	g.mu.Lock()
	who, since := g.who, g.since
	g.mu.Unlock()
	if who != nil {
		if fresh, err := g.gate.auth.Refresh(who); err != nil || !fresh.Same(who) {
			g.settle(who, fresh, err)
		}
	}
	if !since.IsZero() && time.Since(since) > StrangerTime {
		_, err := g.caller()
		if err == nil {
			err = errStranger
		}
		g.session.End(pb.ToStatus(err).Err())
	}
}

// errStranger ends a session whose client has presented nothing.
var errStranger = &sharelock.Error{Err: sharelock.ErrUnauthenticated, Message: "the session has presented no credentials, and callers without any may do nothing"}
