package nodetls

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/certs"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// inBubble runs a store of files.
func inBubble(t *testing.T, run func(t *testing.T, ca *certs.CA, f *files, s *Store, log *logged)) {
	t.Helper()
	virtual.Test(t, func(t *testing.T) {
		ca := newCA(t)
		f := newFiles(t, material(memberOf(t, ca), ca))
		s, log := open(t, f.source())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.Run(ctx)
		run(t, ca, f, s, log)
	})
}

// lapse waits for the time in which a change must be noticed.
func lapse() {
	time.Sleep(10 * time.Second)
	synctest.Wait()
}

func TestReload(t *testing.T) {
	inBubble(t, func(t *testing.T, ca *certs.CA, f *files, s *Store, log *logged) {
		first := s.Current()
		lapse()
		if s.Current() != first || log.take() != "" {
			t.Error("a set that has not changed was loaded again")
		}
		f.swap(material(memberOf(t, ca), ca))
		lapse()
		if s.Current() == first || !strings.Contains(log.take(), "new certificates are used") || s.Stats().Reloads != 1 {
			t.Errorf("a link to another folder is not followed: %+v", s.Stats())
		}
		// Replaced in place, and reloaded on request.
		second := s.Current()
		f.write("ca.pem", bundle(newCA(t), ca))
		if err := s.Reload(); err != nil || s.Current() == second || s.Stats().Reloads != 2 {
			t.Errorf("%v, %+v", err, s.Stats())
		}
	})
}

// A set that does not fit is not used, logged once, and counted. The next one that fits is used.
func TestReloadRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, ca *certs.CA, f *files, s *Store, log *logged) {
		first := s.Current()
		next := memberOf(t, ca)
		f.write("cert.pem", next.Cert) // its key comes later
		lapse()
		if said := log.take(); s.Current() != first || strings.Count(said, "level=ERROR") != 1 || !strings.Contains(said, "private key does not match") {
			t.Errorf("a half-written set: %q", said)
		}
		lapse()
		if said := log.take(); said != "" || s.Stats().Failures != 1 {
			t.Errorf("it is said again: %q, %+v", said, s.Stats())
		}
		if err := s.Reload(); err == nil || s.Stats().Failures != 2 {
			t.Errorf("asked to reload: %v, %+v", err, s.Stats())
		}
		log.take()
		f.write("key.pem", next.Key)
		lapse()
		if said := log.take(); s.Current() == first || s.Stats().Reloads != 1 {
			t.Errorf("the whole set: %q, %+v", said, s.Stats())
		}
		// Expired, from another authority, missing.
		second := s.Current()
		f.swap(material(memberOf(t, ca, certs.Valid(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))), ca))
		lapse()
		f.swap(material(memberOf(t, newCA(t)), ca))
		lapse()
		f.write("key.pem", nil)
		lapse()
		if said := log.take(); s.Current() != second || s.Stats().Failures != 5 || strings.Count(said, "the old ones remain") != 3 {
			t.Errorf("%q, %+v", said, s.Stats())
		}
	})
}

// A certificate that is not valid yet is used when it is valid.
func TestReloadWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, ca *certs.CA, f *files, s *Store, log *logged) {
		first := s.Current()
		f.swap(material(memberOf(t, ca, certs.Valid(time.Now().Add(time.Minute), time.Now().Add(time.Hour*9000))), ca))
		lapse()
		if said := log.take(); s.Current() != first || !strings.Contains(said, "not valid now") {
			t.Errorf("before: %q", said)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.Current() == first || s.Stats().Failures != 1 {
			t.Errorf("after: %+v", s.Stats())
		}
	})
}

// A certificate that expires within 14 days is an error.
func TestExpiry(t *testing.T) {
	const day = 24 * time.Hour
	begin := time.Now()
	ca := newCA(t)
	set, err := newSet(material(memberOf(t, ca, certs.Valid(begin, begin.Add(15*day))), ca), member, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := newSet(material(memberOf(t, ca), ca), member, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var e expiry
	log := new(logged)
	for _, tt := range []struct {
		set  *Set
		at   time.Duration
		want string // "" is silence
	}{
		{set, -time.Hour, "not valid yet"},
		{set, 0, ""},
		{set, day - time.Hour, ""},
		{set, day + time.Hour, "expires soon"},
		{set, day + 2*time.Hour, ""},
		{set, 2*day + 2*time.Hour, "expires soon"},
		{set, 15*day - time.Hour, "expires soon"},
		{set, 15*day + time.Second, "has expired"},
		{set, 15*day + time.Minute, ""},
		{set, 15*day + time.Hour + time.Minute, "has expired"},
		{renewed, 15*day + 3*time.Hour, ""},
	} {
		e.look(tt.set, begin.Add(tt.at), log.logger())
		said := log.take()
		if (tt.want == "") != (said == "") || !strings.Contains(said, tt.want) || said != "" && !strings.Contains(said, "level=ERROR") {
			t.Errorf("after %v: %q, want %q", tt.at, said, tt.want)
		}
	}
}
