package gossip

import (
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Bounds of what is logged of gossip that cannot be read: an address is named once in a window, and
// so many addresses at most. Anyone can send such packets, from any address.
const (
	refusalWindow = time.Minute
	maxRefusals   = 8
)

// Why gossip with another process is not possible.
const (
	whyUnknownKey = "it encrypts with a key that this node does not have; see docs/security.md, Gossip"
	whyOwnKey     = "it does not have the key with which this node encrypts; see docs/security.md, Gossip"
	whyPlain      = "it does not encrypt, which this node requires (mesh.gossip_encryption)"
	whySealed     = "it encrypts, and this node has no gossip keys; see docs/security.md, Gossip"
)

// memberlist's words for that, on whichever side finds it out. There are tests that they are the
// words of the version in use.
const (
	saysNoKey     = "no installed keys could decrypt the message"
	saysNotSealed = "encryption is configured but remote state is not encrypted"
	saysNoKeys    = "remote state is encrypted and encryption is not configured"
	saysRemote    = "remote error: "

	failedPacket = "Decrypt packet failed: "
	failedStream = "failed to receive: "
	fromAddress  = " from="
)

// classify returns why gossip is not possible, of an error of memberlist; "" if it is another
// error. remote: it is what the other side has said.
func classify(text string, remote bool) string {
	switch {
	case strings.Contains(text, saysNoKey) && remote:
		return whyOwnKey
	case strings.Contains(text, saysNoKey):
		return whyUnknownKey
	case strings.Contains(text, saysNotSealed) && !remote, strings.Contains(text, saysNoKeys) && remote:
		return whyPlain
	case strings.Contains(text, saysNoKeys), strings.Contains(text, saysNotSealed):
		return whySealed
	}
	return ""
}

// refusals logs that gossip with other processes is not possible, one line for each address in a
// minute. The zero value with a log is ready.
type refusals struct {
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	until   time.Time  // the end of the window
	named   map[string]bool
	dropped int
}

// note logs the trouble with an address, an IP or IP:port, unless it was named just now.
func (r *refusals) note(addr, why string) {
	host := addr
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		host = ap.Addr().String() // streams come from any port
	}
	if r.first(host) {
		r.log.Warn("gossip with another process is not possible", "address", addr, "why", why)
	}
}

// first reports whether this is the first about something in the window, and there is room for it.
func (r *refusals) first(about string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.After(r.until) {
		if r.dropped > 0 {
			r.log.Warn("gossip with more processes was not possible", "lines", r.dropped)
		}
		r.until, r.named, r.dropped = now.Add(refusalWindow), make(map[string]bool), 0
	}
	switch {
	case r.named[about]:
		return false
	case len(r.named) >= maxRefusals:
		r.dropped++
		return false
	}
	r.named[about] = true
	return true
}

// whyRefused returns why a join failed, if that is about encryption, else "".
func whyRefused(err error) string {
	return classify(err.Error(), strings.Contains(err.Error(), saysRemote))
}

// joinFailed is told the error of a join, and reports whether it was about encryption.
func (r *refusals) joinFailed(addr string, err error) bool {
	why := whyRefused(err)
	if why != "" {
		r.note(addr, why)
	}
	return why != ""
}

// filter takes memberlist's lines: it notes those about encryption, which come with each packet,
// and passes the others on.
func (r *refusals) filter(next io.Writer) io.Writer { return refusalFilter{r, next} }

type refusalFilter struct {
	refusals *refusals
	next     io.Writer
}

// Write takes one line.
func (f refusalFilter) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	at := strings.LastIndex(line, fromAddress)
	if at < 0 {
		// It names no address: a probe of a member that has other keys, for example.
		if classify(line, false) != "" && !f.refusals.first(line) {
			return len(p), nil
		}
		return f.next.Write(p)
	}
	why := ""
	switch {
	case strings.Contains(line, failedPacket):
		// A packet that is not encrypted fails in one of several ways.
		if why = whyUnknownKey; !strings.Contains(line, saysNoKey) {
			why = whyPlain
		}
	case strings.Contains(line, failedStream):
		why = classify(line, false)
	}
	if why == "" {
		return f.next.Write(p)
	}
	f.refusals.note(line[at+len(fromAddress):], why)
	return len(p), nil
}
