package machine

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/ops"
)

// TestMachineAgainstNaive lets a machine, a backup that follows its ops and the
// naive model live through the same random history.
func TestMachineAgainstNaive(t *testing.T) {
	setUnlessGiven(t, "rapid.checks", "1000")
	setUnlessGiven(t, "rapid.steps", "100")
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		t.Repeat(map[string]func(*rapid.T){
			"":           h.compare,
			"request":    h.request,
			"request 2":  h.request,
			"request 3":  h.request,
			"request 4":  h.request,
			"again":      h.again,
			"pass":       h.pass,
			"kill":       h.kill,
			"break":      h.breakOff,
			"takeover":   h.takeover,
			"go on":      h.goOn,
			"lose":       h.lose,
			"new backup": h.newBackup,
			"full":       h.fill,
		})
	})
}

// setUnlessGiven sets a test flag that the command line left alone.
func setUnlessGiven(t *testing.T, name, value string) {
	t.Helper()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, old) })
}

// manyWaiters is a queue length at which the model's machine has an index.
const manyWaiters = indexFrom + 8

type history struct {
	naive         *naive
	owner, backup *Machine
	epoch         uint32
	// tally is what the owner has said of the claims of principals since its activation, and what they
	// had then.
	tally tally
	// crowded: many wait for one key, and time goes slowly.
	crowded bool
	// release is that of the view: below 2 there are no principals.
	release   uint32
	listeners []*listener
	// steps makes every moment unique, to the nanosecond, so that nothing is due at
	// one time by chance.
	steps int
	// last is the largest token seen, over all owners and losses.
	last   sharelock.Token
	tokens []sharelock.Token
	sent   []sent
}

type sent struct {
	from Ref
	r    Request
}

func newHistory(t *rapid.T) *history {
	most := rapid.SampledFrom([]int{0, 3, manyWaiters}).Draw(t, "max waiters")
	h := &history{naive: newNaive(most), owner: New(1, most), backup: New(1, most), epoch: 1, crowded: most == manyWaiters}
	h.release = rapid.SampledFrom([]uint32{1, release.Principals, release.Principals}).Draw(t, "release")
	h.activate(0)
	for i := range 4 {
		h.listeners = append(h.listeners, &listener{name: fmt.Sprintf("l%d", i)})
	}
	return h
}

// activate makes the owner act in its epoch.
func (h *history) activate(now time.Duration) {
	h.owner.SetRelease(h.release)
	h.owner.SetQuota(&h.tally)
	h.owner.Activate(now, h.epoch, "n")
	h.tally = tallyOf(h.owner)
}

// A tally is a Quota that counts and bounds nothing: holds and waiters by principal.
type tally map[string][2]int

func tallyOf(m *Machine) tally {
	t := tally{}
	m.Principals(func(name string, holds, waiters int) { t[name] = [2]int{holds, waiters} })
	return t
}

func (t *tally) add(principal string, holds, waiters int) {
	n := (*t)[principal]
	if n = [2]int{n[0] + holds, n[1] + waiters}; n == [2]int{} {
		delete(*t, principal)
		return
	}
	(*t)[principal] = n
}

func (t *tally) Admit(principal string, waits bool) error {
	if waits {
		t.add(principal, 0, 1)
	} else {
		t.add(principal, 1, 0)
	}
	return nil
}

func (t *tally) Granted(principal string) { t.add(principal, 1, -1) }

func (t *tally) Ended(principal string, waited bool) {
	if waited {
		t.add(principal, 0, -1)
	} else {
		t.add(principal, -1, 0)
	}
}

// moment goes on by d and gives the time.
func (h *history) moment(d time.Duration) time.Duration {
	h.steps++
	h.naive.now = (h.naive.now + d).Truncate(time.Millisecond) + time.Duration(h.steps)
	return h.naive.now
}

func (h *history) pass(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{
		time.Millisecond, 90 * time.Millisecond, 400 * time.Millisecond, time.Second, 3 * time.Second,
		9 * time.Second, 31 * time.Second, 95 * time.Second,
	}).Draw(t, "pass")
	if h.crowded {
		d = min(d, 700*time.Millisecond)
	}
	var out Out
	h.owner.Tick(h.moment(d), &out)
	h.naive.tick()
	h.settle(t, &out)
}

func (h *history) request(t *rapid.T) {
	r := Request{
		Kind:      Kind(rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 5, 6, 7, 8, 8, 9, 10}).Draw(t, "kind")),
		Key:       rapid.SampledFrom([]string{"a", "a", "b"}).Draw(t, "key"),
		RequestID: fmt.Sprintf("r%d", rapid.IntRange(0, 40).Draw(t, "id")),
		TTL:       rapid.SampledFrom([]time.Duration{300 * time.Millisecond, 3 * time.Second, 9 * time.Second, time.Minute}).Draw(t, "ttl"),
		Wait:      rapid.SampledFrom([]time.Duration{0, 500 * time.Millisecond, 2 * time.Second, time.Minute}).Draw(t, "wait"),
		Slots:     rapid.SampledFrom([]uint32{0, 0, 0, 0, 3, 20}).Draw(t, "slots"),
		Send:      rapid.Uint32Range(1, 3).Draw(t, "send"),
		OwnID:     rapid.Bool().Draw(t, "own"),
		SentOnce:  rapid.Bool().Draw(t, "once"),
		Drop:      rapid.Bool().Draw(t, "drop"),
		MaxHold:   rapid.SampledFrom([]time.Duration{0, 0, 700 * time.Millisecond, 10 * time.Second, 2 * time.Minute}).Draw(t, "max hold"),
		Tell:      rapid.Bool().Draw(t, "tell"),
		Metadata:  rapid.SampledFrom([]map[string]string{nil, nil, {}, {"step": "1"}, {"step": "2", "of": "3"}}).Draw(t, "metadata"),
		Principal: rapid.SampledFrom([]string{"p", "p", "q", ""}).Draw(t, "principal"),
		AnyHold:   rapid.IntRange(0, 9).Draw(t, "any hold") == 0,
	}
	if r.Slots == 0 && rapid.Bool().Draw(t, "shared") {
		r.Mode = sharelock.Shared
	}
	if h.crowded && rapid.IntRange(0, 9).Draw(t, "contended key") > 0 {
		r.Key, r.TTL, r.Wait = "a", time.Minute, time.Minute
		if r.Kind != Release && r.Kind != Detach {
			r.Kind = Acquire
		}
		r.RequestID = fmt.Sprintf("r%d", (len(h.sent)+rapid.IntRange(0, 20).Draw(t, "near"))%60)
	}
	if k := h.naive.keys[r.Key]; k != nil && rapid.IntRange(0, 9).Draw(t, "agree") > 0 {
		if r.Slots = k.slots; r.Slots > 0 {
			r.Mode = sharelock.Exclusive
		}
	}
	// Mostly an id belongs to one client.
	r.ClientID = "c" + r.RequestID[len(r.RequestID)-1:]
	if rapid.IntRange(0, 19).Draw(t, "stranger") == 0 {
		r.ClientID = "c0"
	}
	if len(h.tokens) > 0 && r.Kind != Acquire && rapid.IntRange(0, 9).Draw(t, "known token") > 0 {
		r.Token = rapid.SampledFrom(h.tokens[max(0, len(h.tokens)-6):]).Draw(t, "token")
	}
	if r.Kind == Renew && rapid.Bool().Draw(t, "keep TTL") {
		r.TTL = 0
	}
	if r.Kind == RenewMany {
		h.many(t, &r)
	}
	from := Ref{Caller: rapid.SampledFrom(h.listeners).Draw(t, "listener"), ID: 1}
	h.send(t, from, r)
}

// many draws the holds of a request to renew many.
func (h *history) many(t *rapid.T, r *Request) {
	r.TTL = 0
	for range rapid.IntRange(1, 4).Draw(t, "many") {
		n := &Renewal{
			Key:   rapid.SampledFrom([]string{"a", "a", "b"}).Draw(t, "renewed key"),
			Token: rapid.SampledFrom(append([]sharelock.Token{7}, h.tokens[max(0, len(h.tokens)-6):]...)).Draw(t, "renewed token"),
			TTL:   rapid.SampledFrom([]time.Duration{300 * time.Millisecond, 9 * time.Second, time.Minute}).Draw(t, "renewed ttl"),

			Principal: rapid.SampledFrom([]string{"p", "q", ""}).Draw(t, "renewed principal"),
		}
		r.Renewals, r.TTL, r.Key = append(r.Renewals, n), max(r.TTL, n.TTL), n.Key
	}
}

// again sends one of the last requests again, as it was or as its next send.
func (h *history) again(t *rapid.T) {
	if len(h.sent) == 0 {
		t.Skip("nothing was sent")
	}
	s := rapid.SampledFrom(h.sent[max(0, len(h.sent)-8):]).Draw(t, "sent")
	s.r.Send += rapid.Uint32Range(0, 1).Draw(t, "next")
	if s.r.Kind == Acquire {
		s.r.Kind = rapid.SampledFrom([]Kind{Acquire, Acquire, Cancel, Detach}).Draw(t, "kind")
	}
	h.send(t, s.from, s.r)
}

func (h *history) send(t *rapid.T, from Ref, r Request) {
	if k := h.naive.keys[r.Key]; k != nil && (r.Principal == "" || r.AnyHold) && len(k.of("", r.RequestID)) > 1 {
		// Which of several claims is meant is not promised.
		r.Principal, r.AnyHold = "p", false
	}
	h.sent = append(h.sent, sent{from, r})
	var out Out
	h.owner.Step(h.moment(0), from, &r, &out)
	h.naive.step(from, h.seen(r))
	h.settle(t, &out)
}

// seen is a request as the owner sees it in the view's release (W1).
func (h *history) seen(r Request) *Request {
	if h.release < release.Principals {
		r.Principal = ""
		r.Renewals = slices.Clone(r.Renewals)
		for i, n := range r.Renewals {
			r.Renewals[i] = &Renewal{Key: n.Key, Token: n.Token, TTL: n.TTL}
		}
	}
	return &r
}

// settle compares what came out with what the model said, tells the model the
// tokens, and lets the backup follow.
func (h *history) settle(t *rapid.T, out *Out) {
	var got []string
	for _, r := range out.Replies {
		got = append(got, naiveText(r)...)
	}
	want := h.naive.replies
	h.naive.replies = nil
	sort.Strings(got)
	sort.Strings(want)
	if !slices.Equal(got, want) {
		t.Fatalf("replies:\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	for i := range out.Ops {
		op := &out.Ops[i]
		if op.Kind == ops.Grant {
			if op.Token <= h.last {
				t.Fatalf("token %v after %v", op.Token, h.last)
			}
			h.last = op.Token
			h.tokens = append(h.tokens, op.Token)
		}
		var copied ops.Op
		if rest, err := copied.Decode(op.Append(nil)); err != nil || len(rest) > 0 {
			t.Fatalf("op %+v: %v", op, err)
		}
		if err := h.backup.Apply(h.naive.now, &copied); err != nil {
			t.Fatal(err)
		}
	}
	h.backup.Tick(h.naive.now, new(Out))
}

func naiveText(r Reply) (lines []string) {
	text := ""
	holds := r.Holds
	if r.Lock != nil {
		holds = r.Lock.Holds
	}
	for _, hold := range holds {
		text += strings.TrimSpace("hold "+label(hold.Principal, hold.RequestID)) + " "
	}
	lost, denied := r.Unrenewed.Lists()
	if len(lost) > 0 {
		text = fmt.Sprint("lost ", lost)
	}
	if len(denied) > 0 {
		text += fmt.Sprint("denied ", denied)
	}
	if r.Err != nil {
		var e *sharelock.Error
		if !errors.As(r.Err, &e) {
			return []string{"error without details: " + r.Err.Error()}
		}
		text = e.Err.Error()
		for _, hold := range e.Holds {
			text += " " + label(hold.Principal, hold.RequestID)
		}
		if e.Err == sharelock.ErrLockHeld {
			text += fmt.Sprintf(" queue=%d", e.Queue)
		}
	}
	if r.Position > 0 {
		text = fmt.Sprintf("position %d", r.Position)
	}
	if r.Current {
		lines = append(lines, "current")
	}
	return append(lines, fmt.Sprintf("%s send=%d outcome=%d %s",
		r.Ref.Caller.(*listener).name, r.Answer.Send, r.Outcome, strings.TrimSpace(text)))
}

// seldom skips an action most of the time.
func (h *history) seldom(t *rapid.T) {
	if !rapid.Bool().Draw(t, "really") || h.crowded && len(h.sent)%8 > 0 {
		t.Skip("not now")
	}
}

// kill ends a listener; one of the same name takes its place.
func (h *history) kill(t *rapid.T) {
	i := rapid.IntRange(0, len(h.listeners)-1).Draw(t, "listener")
	h.listeners[i].dead = true
	h.listeners[i] = &listener{name: h.listeners[i].name}
}

// breakOff breaks the way to a listener; one of the same name takes its place.
func (h *history) breakOff(t *rapid.T) {
	i := rapid.IntRange(0, len(h.listeners)-1).Draw(t, "listener")
	now := h.moment(0)
	h.owner.brokeAll(now, h.listeners[i])
	h.naive.broke(h.listeners[i])
	h.listeners[i].dead = true
	h.listeners[i] = &listener{name: h.listeners[i].name}
}

// takeover makes the backup the owner and the owner, as it is, the backup.
func (h *history) takeover(t *rapid.T) {
	h.seldom(t)
	now := h.moment(0)
	attached := 0
	for _, k := range h.naive.keys {
		for _, w := range k.waiters {
			if w.ref.Caller != nil {
				attached++
			}
		}
	}
	h.owner.detachAll(func(Ref) { attached-- })
	if attached != 0 {
		t.Fatalf("%d attached waiters were not told", attached)
	}
	h.owner.Tick(now, new(Out))
	h.backup.Tick(now, new(Out))
	h.owner, h.backup = h.backup, h.owner
	h.epoch++
	h.activate(now)
	h.owner.SetFull(h.naive.full)
	h.naive.takeover()
}

// goOn begins a new epoch with the same owner.
func (h *history) goOn(t *rapid.T) {
	h.seldom(t)
	now := h.moment(0)
	h.owner.detachAll(func(Ref) {})
	h.owner.Tick(now, new(Out))
	h.backup.Tick(now, new(Out))
	if err := h.owner.Check(); err != nil {
		t.Fatal(err)
	}
	h.epoch++
	h.activate(now)
	h.owner.SetFull(h.naive.full)
	h.naive.takeover()
}

// lose loses every copy (section 4.3).
func (h *history) lose(t *rapid.T) {
	h.seldom(t)
	if h.crowded {
		t.Skip("not with a contended key")
	}
	now := h.moment(0)
	full := h.naive.full
	h.epoch++
	h.naive = newNaive(h.naive.max)
	h.naive.now, h.naive.full, h.naive.quarantine = now, full, now+33*time.Second
	for _, m := range []**Machine{&h.owner, &h.backup} {
		*m = New(1, h.naive.max)
		(*m).Quarantine(now, 33*time.Second)
	}
	h.activate(now)
	h.owner.SetFull(full)
}

// fill says that the owner has as many keys as it may, or no longer.
func (h *history) fill(t *rapid.T) {
	h.seldom(t)
	h.naive.full = !h.naive.full
	h.owner.SetFull(h.naive.full)
}

// newBackup gives the owner another backup.
func (h *history) newBackup(t *rapid.T) {
	fresh := New(1, h.naive.max)
	if err := fresh.Decode(h.naive.now, h.owner.Encode(h.naive.now)); err != nil {
		t.Fatal(err)
	}
	h.backup = fresh
}

// compare looks at everything that can be seen.
func (h *history) compare(t *rapid.T) {
	now := h.naive.now
	if err := errors.Join(h.owner.Check(), h.backup.Check()); err != nil {
		t.Fatal(err)
	}
	if o, b := h.owner.Encode(now), h.backup.Encode(now); !bytes.Equal(o, b) {
		t.Fatalf("owner and backup differ:\n%x\n%x", o, b)
	}
	if is := tallyOf(h.owner); !maps.Equal(is, h.tally) {
		t.Fatalf("principals have %v, counted were %v", is, h.tally)
	}
	if h.owner.Seq() != h.backup.Seq() {
		t.Fatalf("seq %d at the owner, %d at the backup", h.owner.Seq(), h.backup.Seq())
	}
	if got, want := lockText(h), h.naiveLocks(); got != want {
		t.Fatalf("locks:\n got %s\nwant %s", got, want)
	}
	look, looks := h.owner.Look()
	got, ok := h.owner.Next()
	if looks != ok || look > got {
		t.Fatalf("Look is %v %v, later than Next: %v %v", look, looks, got, ok)
	}
	if want, some := h.naive.next(); got != want || ok != some {
		t.Fatalf("next is %v %v, want %v %v", got, ok, want, some)
	}
	if got, want := h.owner.Quarantined(now), max(h.naive.quarantine-now, 0); got != want {
		t.Fatalf("quarantined for %v, want %v", got, want)
	}
}

// lockText shows the machine's locks, and tells the model the tokens.
func lockText(h *history) string {
	var keys []string
	for scan := h.owner.Scan("", func(name []byte) { keys = append(keys, string(name)) }); !scan.Step(); {
	}
	sort.Strings(keys)
	keys = slices.Compact(keys) // a scan may find a key more than once
	if len(keys) != h.owner.Len() {
		return fmt.Sprintf("%d keys, Len is %d", len(keys), h.owner.Len())
	}
	var b strings.Builder
	waiters := 0
	for _, key := range keys {
		l, _ := h.owner.Lock(h.naive.now, key)
		fmt.Fprintf(&b, "%s:", key)
		for _, x := range l.Holds {
			fmt.Fprintf(&b, " %s/%s %v %d %v %v %v %v;", x.ClientID, label(x.Principal, x.RequestID), x.Mode, x.Slots, x.TTL, x.ExpiresIn, x.MaxHold, x.Metadata)
			if (x.EndsIn > 0) != (x.MaxHold > 0) || rules.Stretch(x.EndsIn) > rules.Stretch(x.MaxHold) {
				return fmt.Sprintf("hold %s of at most %v ends in %v", x.RequestID, x.MaxHold, x.EndsIn)
			}
			if k := h.naive.keys[key]; k != nil {
				if c, held := k.find(x.Principal, x.RequestID); held {
					c.token = x.Token
				}
			}
		}
		for _, w := range l.Waiters {
			fmt.Fprintf(&b, " %s/%s %v %d waits %v;", w.ClientID, label(w.Principal, w.RequestID), w.Mode, w.Slots, w.Waiting)
			waiters++
		}
	}
	if waiters != h.owner.Waiters() {
		return fmt.Sprintf("%d waiters, Waiters is %d", waiters, h.owner.Waiters())
	}
	return b.String()
}

func (h *history) naiveLocks() string {
	mode := map[bool]sharelock.Mode{true: sharelock.Shared}
	var b strings.Builder
	for _, key := range h.naive.sortedKeys() {
		k := h.naive.keys[key]
		fmt.Fprintf(&b, "%s:", key)
		for _, c := range k.holds {
			fmt.Fprintf(&b, " %s/%s %v %d %v %v %v %v;", c.client, c.label(), mode[c.shared], k.slots, c.ttl, c.ends-h.naive.now, c.maxHold, c.meta)
		}
		for _, c := range k.waiters {
			fmt.Fprintf(&b, " %s/%s %v %d waits %v;", c.client, c.label(), mode[c.shared], k.slots, h.naive.now-c.since)
		}
	}
	return b.String()
}
