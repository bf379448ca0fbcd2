package machine

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

var updateScripts = flag.Bool("update", false, "rewrite the output in testdata/*.txt")

// TestScripts runs the stories of testdata: a command per line, and below it,
// indented, all that comes of it. `go test -run Scripts -update` writes the
// output anew; the diff is then to be read.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if *updateScripts {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s does not come out as written:\n%s", file, firstDifference(got, string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			from := max(0, i-5)
			return fmt.Sprintf("line %d, after\n%s\ngot:  %s\nwant: %s", i+1, strings.Join(g[from:i], "\n"), g[i], w[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}

// listener is a Caller that can be killed.
type listener struct {
	name string
	dead bool
}

func (l *listener) Answer(uint64, Answer) {}
func (l *listener) Alive() bool           { return !l.dead }

// stage is a running script: an owner, a backup that follows it, and listeners.
type stage struct {
	t         testing.TB
	now       time.Duration
	owner     *Machine
	backup    *Machine
	listeners map[string]*listener
	// release is that of the views of the next activations.
	release uint32
	out     strings.Builder
}

func runScript(t testing.TB, script string) string {
	s := &stage{t: t, owner: New(7, 3), backup: New(7, 3), listeners: map[string]*listener{}}
	for n, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		s.out.WriteString(line + "\n")
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		s.command(n+1, words[0], words[1:])
		s.compare(n + 1)
	}
	return s.out.String()
}

// compare checks both machines, and that they are equal.
func (s *stage) compare(line int) {
	s.t.Helper()
	if err := errors.Join(s.owner.Check(), s.backup.Check()); err != nil {
		s.t.Fatalf("line %d: %v", line, err)
	}
	if o, b := s.owner.Encode(s.now), s.backup.Encode(s.now); !bytes.Equal(o, b) {
		s.t.Fatalf("line %d: owner and backup differ:\n%x\n%x", line, o, b)
	}
}

func (s *stage) printf(format string, args ...any) { fmt.Fprintf(&s.out, "  "+format+"\n", args...) }

func (s *stage) ref(name string) Ref {
	l := s.listeners[name]
	if l == nil {
		l = &listener{name: name}
		s.listeners[name] = l
	}
	return Ref{Caller: l, ID: 1}
}

func (s *stage) command(line int, name string, args []string) {
	var out Out
	switch name {
	case "at":
		at := s.duration(line, args[0])
		if at < s.now {
			s.t.Fatalf("line %d: time goes backwards", line)
		}
		s.now = at
	case "tick":
		s.owner.Tick(s.now, &out)
		s.backup.Tick(s.now, new(Out))
	case "next":
		if at, ok := s.owner.Next(); ok {
			s.printf("at %v", at)
		} else {
			s.printf("never")
		}
	case "activate":
		s.owner.SetRelease(s.release)
		s.owner.Activate(s.now, uint32(s.number(line, args[0])), args[1])
	case "release-of-view":
		s.release = uint32(s.number(line, args[0]))
	case "takeover":
		s.takeover(line, args)
	case "quarantine":
		d := s.duration(line, args[0])
		s.owner.Quarantine(s.now, d)
		s.backup.Quarantine(s.now, d)
	case "most":
		s.owner.SetMaxHold(s.duration(line, args[0]))
	case "full":
		s.owner.SetFull(args[0] == "on")
	case "counter":
		last := sharelock.MakeToken(s.owner.epoch, uint32(s.number(line, args[0])))
		s.owner.last, s.backup.last = last, last
		s.printf("half used: %v", s.owner.CounterHalfUsed())
	case "kill":
		s.ref(args[0]).Caller.(*listener).dead = true
	case "break":
		s.owner.brokeAll(s.now, s.ref(args[0]).Caller)
		s.ref(args[0]).Caller.(*listener).dead = true
	case "show":
		s.show(args[0])
	default:
		from, r := s.request(line, name, args)
		s.owner.Step(s.now, from, r, &out)
	}
	s.print(line, &out)
}

// takeover lets the backup become the owner, and gives it a new backup.
func (s *stage) takeover(line int, args []string) {
	s.owner.detachAll(func(r Ref) { s.printf("%s: sent away", r.Caller.(*listener).name) })
	s.owner = s.backup
	s.backup = New(7, 3)
	if err := s.backup.Decode(s.now, s.owner.Encode(s.now)); err != nil {
		s.t.Fatalf("line %d: %v", line, err)
	}
	s.owner.SetRelease(s.release)
	s.owner.Activate(s.now, uint32(s.number(line, args[0])), args[1])
}

func (s *stage) show(key string) {
	l, ok := s.owner.Lock(s.now, key)
	if !ok {
		s.printf("%s is idle; %d keys, %d waiters", key, s.owner.Len(), s.owner.Waiters())
		return
	}
	s.printf("%s in partition %d of %s, epoch %d, quarantine %v", l.Key, l.Partition, l.Owner, l.Epoch, l.Quarantine)
	for _, h := range l.Holds {
		s.printf("  held by %s", holdText(h))
	}
	for _, w := range l.Waiters {
		s.printf("  wanted by %s/%s%s %v slots=%d for %v%s", w.ClientID, w.RequestID, principalText(w.Principal), w.Mode, w.Slots, w.Waiting, metaText(w.Metadata))
	}
}

var scriptKinds = map[string]Kind{
	"acquire": Acquire, "renew": Renew, "release": Release, "force": Force,
	"get": Get, "check": Check, "cancel": Cancel, "detach": Detach,
}

// request reads e.g. `acquire k id=r1 client=c1 ttl=10s wait=5s ref=a send=1 own`.
func (s *stage) request(line int, name string, args []string) (Ref, *Request) {
	kind, ok := scriptKinds[name]
	if !ok {
		s.t.Fatalf("line %d: unknown command %q", line, name)
	}
	r := &Request{Kind: kind, Key: args[0], Send: 1}
	if kind == Acquire {
		r.ClientID, r.TTL = "c", 10*time.Second
	}
	ref := ""
	for _, arg := range args[1:] {
		k, v, _ := strings.Cut(arg, "=")
		switch k {
		case "id":
			r.RequestID = v
		case "client":
			r.ClientID = v
		case "ttl":
			r.TTL = s.duration(line, v)
		case "wait":
			r.Wait = s.duration(line, v)
		case "ref":
			ref = v
		case "send":
			r.Send = uint32(s.number(line, v))
		case "token":
			epoch, counter, _ := strings.Cut(v, ".")
			r.Token = sharelock.MakeToken(uint32(s.number(line, epoch)), uint32(s.number(line, counter)))
		case "slots":
			r.Slots = uint32(s.number(line, v))
		case "meta":
			name, value, ok := strings.Cut(v, ":")
			if r.Metadata = (map[string]string{}); ok {
				r.Metadata[name] = value
			}
		case "max":
			r.MaxHold = s.duration(line, v)
		case "tell":
			r.Tell = true
		case "shared":
			r.Mode = sharelock.Shared
		case "own":
			r.OwnID = true
		case "once":
			r.SentOnce = true
		case "drop":
			r.Drop = true
		case "of":
			r.Principal = v
		case "any":
			r.AnyHold = true
		default:
			s.t.Fatalf("line %d: unknown argument %q", line, arg)
		}
	}
	if ref == "" {
		if ref = r.RequestID; ref == "" {
			ref = "x"
		}
	}
	return s.ref(ref), r
}

func (s *stage) duration(line int, text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatalf("line %d: %v", line, err)
	}
	return d
}

func (s *stage) number(line int, text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		s.t.Fatalf("line %d: %v", line, err)
	}
	return n
}

// print writes what came out, and sends the ops on to the backup, encoded.
func (s *stage) print(line int, out *Out) {
	for i := range out.Ops {
		s.printf("%s", opText(&out.Ops[i]))
		var op ops.Op
		if rest, err := op.Decode(out.Ops[i].Append(nil)); err != nil || len(rest) > 0 {
			s.t.Fatalf("line %d: op does not decode: %v, rest %x", line, err, rest)
		}
		if err := s.backup.Apply(s.now, &op); err != nil {
			s.t.Fatalf("line %d: %v", line, err)
		}
	}
	for _, r := range out.Replies {
		s.printf("%s: %s", r.Ref.Caller.(*listener).name, replyText(r))
	}
}

func opText(op *ops.Op) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %s", op.Kind, op.Key)
	if op.Token != 0 {
		b.WriteString(" " + tokenText(op.Token))
	}
	if op.ClientID != "" {
		b.WriteString(" " + op.ClientID + "/" + op.RequestID)
	} else if op.RequestID != "" {
		b.WriteString(" " + op.RequestID)
	}
	b.WriteString(principalText(op.Principal))
	if op.Mode == sharelock.Shared {
		b.WriteString(" SHARED")
	}
	if op.TTL != 0 {
		fmt.Fprintf(&b, " ttl=%v", op.TTL)
	}
	if op.MaxHold > 0 {
		fmt.Fprintf(&b, " max=%v", op.MaxHold)
	}
	if op.Slots > 0 {
		fmt.Fprintf(&b, " slots=%d", op.Slots)
	}
	if op.Why != 0 {
		fmt.Fprintf(&b, " (%v)", op.Why)
	}
	for _, flag := range []struct {
		on   bool
		text string
	}{{op.Waited, " waited"}, {op.OwnID, " own"}, {op.Resent, " resent"}, {op.Remember, " remember"}} {
		if flag.on {
			b.WriteString(flag.text)
		}
	}
	b.WriteString(metaText(op.Metadata))
	return b.String()
}

func replyText(r Reply) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s send=%d seq=%d", [...]string{"?", "done", "queued", "retry", "failed"}[r.Outcome], r.Send, r.Seq)
	if r.Current {
		b.WriteString(" current")
	}
	if r.Position > 0 {
		fmt.Fprintf(&b, "; position %d", r.Position)
	}
	holds := r.Holds
	if r.Lock != nil {
		holds = r.Lock.Holds
	}
	for _, h := range holds {
		b.WriteString("; " + holdText(h))
	}
	if r.Lock != nil && r.Lock.Owner != "" { // not in an answer to Check
		fmt.Fprintf(&b, "; %d hold and %d wait for %s", r.Lock.HoldCount, r.Lock.WaiterCount, r.Lock.Key)
	}
	if r.Err != nil {
		b.WriteString("; " + r.Err.Error())
		if e, ok := errors.AsType[*sharelock.Error](r.Err); ok {
			for _, h := range e.Holds {
				b.WriteString("; " + holdText(h))
			}
			if e.Queue > 0 {
				fmt.Fprintf(&b, "; %d in the queue", e.Queue)
			}
			if e.RetryAfter > 0 {
				fmt.Fprintf(&b, "; retry after %v", e.RetryAfter)
			}
		}
	}
	return b.String()
}

func holdText(h sharelock.Hold) string {
	text := h.Key + " " + tokenText(h.Token)
	if h.ClientID != "" {
		text += " " + h.ClientID + "/" + h.RequestID
	}
	text += principalText(h.Principal)
	if h.Mode == sharelock.Shared {
		text += " SHARED"
	}
	if h.Slots > 0 {
		text += fmt.Sprintf(" slots=%d", h.Slots)
	}
	if h.TTL > 0 {
		text += fmt.Sprintf(" ttl=%v expires in %v at %s", h.TTL, h.ExpiresIn, h.Node)
	}
	if h.MaxHold > 0 {
		text += fmt.Sprintf(" max=%v ends in %v", h.MaxHold, h.EndsIn)
	}
	return text + metaText(h.Metadata)
}

func principalText(name string) string {
	if name == "" {
		return ""
	}
	return " of " + name
}

func tokenText(t sharelock.Token) string { return fmt.Sprintf("%d.%d", t.Epoch(), t.Counter()) }

func metaText(m map[string]string) string {
	if m == nil {
		return ""
	}
	return fmt.Sprint(" ", m)
}
