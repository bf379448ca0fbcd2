package raftstore

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sgkandale/sharelock/internal/virtual"
)

var errDisk = errors.New("no space left on device")

// failing makes the writes of a store fail while it is set.
func failing(s *Store) *atomic.Bool {
	var full atomic.Bool
	s.Fault = func() error {
		if full.Load() {
			return errDisk
		}
		return nil
	}
	return &full
}

// A write that fails changes nothing and is said; the next that works is said, too.
func TestStoreOfAFullDisk(t *testing.T) {
	s, _ := tempStore(t)
	full := failing(s)
	entry := &raft.Log{Index: 1, Term: 1, Data: []byte("x")}
	full.Store(true)
	for what, err := range map[string]error{
		"log": s.StoreLog(entry), "vote": s.Set([]byte("LastVoteCand"), []byte("a")), "vote's term": s.SetUint64([]byte("LastVoteTerm"), 2),
		"deletion": s.DeleteRange(1, 1), "probe": s.Probe(),
	} {
		if !errors.Is(err, errDisk) || !errors.Is(s.Failed(), errDisk) {
			t.Errorf("%s: %v, and the store says %v", what, err, s.Failed())
		}
	}
	if last, err := s.LastIndex(); last != 0 || err != nil {
		t.Errorf("last index %d, %v", last, err)
	}
	full.Store(false)
	if err := s.Probe(); err != nil || s.Failed() != nil {
		t.Errorf("probe of a disk that works again: %v, %v", err, s.Failed())
	}
}

// Raft ends the process when it cannot write its term, so the store makes it wait: until the
// disk works, or the process ends; then no vote is written any more.
func TestTermOfAFullDisk(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		s, _ := tempStore(t)
		full := failing(s)
		full.Store(true)
		term := []byte(termKey)
		written := make(chan error, 1)
		go func() { written <- s.SetUint64(term, 7) }()
		time.Sleep(time.Hour)
		select {
		case err := <-written:
			t.Fatalf("a term was written to a full disk: %v", err)
		default:
		}
		full.Store(false)
		if err := <-written; err != nil {
			t.Errorf("a term on a disk that works again: %v", err)
		}
		if got, err := s.GetUint64(term); got != 7 || err != nil {
			t.Errorf("the term is %d, %v", got, err)
		}

		full.Store(true)
		go func() { written <- s.SetUint64(term, 8) }()
		time.Sleep(time.Hour)
		s.Release()
		if err := <-written; err != nil {
			t.Errorf("the end: %v", err)
		}
		full.Store(false)
		if err := s.Set([]byte("LastVoteCand"), []byte("a")); !errors.Is(err, errClosing) {
			t.Errorf("a vote after the end: %v", err)
		}
		if got, err := s.GetUint64(term); got != 7 || err != nil {
			t.Errorf("the term is %d, %v", got, err)
		}
	})
}
