package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	lock "github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/workload"
)

// floorPatience is how long a message may take to be sent.
const floorPatience = time.Minute

// The sizes of a call and of its answer in bytes: as long as ShareLock's. Both begin with the number
// of the caller, of numberSize bytes; the rest is never read.
var (
	floorCall = len(sessionwire.AppendCall(nil, &sessionwire.Call{
		ID: 1 << 16, Kind: sessionwire.CallAcquire,
		AcquireRequest: lock.AcquireRequest{Key: "bench/1024/1023", TTL: lockTTL, Wait: lockWait, ClientID: "bench", RequestID: "0123456789abcdef"},
	}))
	floorAnswer = len(sessionwire.AppendReply(nil, &sessionwire.Reply{
		ID: 1 << 16, Hold: lock.Hold{Token: 256460173377011712, TTL: lockTTL, ExpiresIn: lockTTL, SafeFor: lockTTL, Node: "node0"},
	}))
)

const numberSize = 8

// floor returns processes that pass on bytes and do nothing else: the first takes calls as ShareLock
// does, many in one message, sends each message to the next process, if there is one, and answers when
// that has acknowledged it. No lock service with as many copies can be faster with the same frames.
func floor(processes int) system {
	name := "one process that answers"
	if processes > 1 {
		name = fmt.Sprintf("%d processes in a chain that answer", processes)
	}
	return system{name, "nothing", func(ctx context.Context, b binaries, dir string) (*service, error) {
		addrs, err := freeAddrs(processes)
		if err != nil {
			return nil, err
		}
		s := &service{addrs: addrs[:1]}
		for i, addr := range addrs {
			args := append([]string{"floor", addr}, addrs[i+1:min(i+2, processes)]...)
			p, err := startProcess(dir, fmt.Sprint("floor", i), share(processes), b.self, args...)
			if err != nil {
				s.stop()
				return nil, err
			}
			s.procs = append(s.procs, p)
		}
		for _, addr := range addrs {
			err := ready(ctx, s.procs, func(context.Context) error {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					return err
				}
				return conn.Close()
			})
			if err != nil {
				s.stop()
				return nil, err
			}
		}
		s.connect = func(_ context.Context, workers int) (func(int) (workload.Locker, error), func() error, error) {
			c, err := dialFloor(s.addrs[0], workers)
			if err != nil {
				return nil, nil, err
			}
			return func(worker int) (workload.Locker, error) { return c.locker(worker), nil }, c.close, nil
		}
		return s, nil
	}}
}

func floorVariants() []variant {
	var vs []variant
	for _, s := range []system{sharelock(1), floor(1), sharelock(3), floor(2)} {
		vs = append(vs, variant{s, s.name, nil})
	}
	return vs
}

func floorLoads() []load {
	return append([]load{{loadDistinct, workload.Options{Workers: 1024}}}, wireLoads()...)
}

// serveFloor runs a process of floor.
func serveFloor(addr string, next ...string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		c := frame.New(conn, lock.MaxMessageBytes, floorPatience)
		go func() {
			defer c.Close() //nolint:errcheck // the other end has gone
			if len(next) == 0 {
				_ = answerAll(c)
				return
			}
			onward, err := net.Dial("tcp", next[0])
			if err != nil {
				return
			}
			_ = passAll(c, frame.New(onward, lock.MaxMessageBytes, floorPatience))
		}()
	}
}

// answerAll answers every call of a stream.
func answerAll(c *frame.Conn) error {
	var answers []byte
	for {
		m, err := c.Recv()
		if err != nil {
			return err
		}
		answers = appendAnswers(answers[:0], m)
		if err := c.Send(answers); err != nil {
			return err
		}
	}
}

// appendAnswers appends the answers to the calls of a message.
func appendAnswers(b, calls []byte) []byte {
	for ; len(calls) >= floorCall; calls = calls[floorCall:] {
		b = append(b, calls[:numberSize]...)
		b = append(b, make([]byte, floorAnswer-numberSize)...)
	}
	return b
}

// passAll sends every message of a stream on to the next process, and what that sends back to the
// stream.
func passAll(c, next *frame.Conn) error {
	defer next.Close() //nolint:errcheck // nothing more comes from it
	go func() {
		defer c.Close() //nolint:errcheck // the next process has gone
		for {
			m, err := next.Recv()
			if err != nil || c.Send(m) != nil {
				return
			}
		}
	}()
	for {
		m, err := c.Recv()
		if err != nil {
			return err
		}
		if err := next.Send(m); err != nil {
			return err
		}
	}
}

// A floorClient has the calls of all workers on one stream. Calls that come while a message is being
// sent leave together in the next one.
type floorClient struct {
	conn    *frame.Conn
	workers []chan struct{}
	ended   chan struct{}

	mu      sync.Mutex
	pending []byte // guarded by mu
	sending bool   // guarded by mu
}

var errFloorGone = errors.New("the process has gone")

func dialFloor(addr string, workers int) (*floorClient, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &floorClient{conn: frame.New(conn, lock.MaxMessageBytes, floorPatience), ended: make(chan struct{})}
	for range workers {
		c.workers = append(c.workers, make(chan struct{}, 1))
	}
	go c.receive()
	return c, nil
}

func (c *floorClient) close() error {
	err := c.conn.Close()
	<-c.ended
	return err
}

// receive wakes the workers whose calls are answered.
func (c *floorClient) receive() {
	defer close(c.ended)
	for {
		m, err := c.conn.Recv()
		if err != nil {
			return
		}
		for ; len(m) >= floorAnswer; m = m[floorAnswer:] {
			c.workers[binary.BigEndian.Uint64(m)] <- struct{}{}
		}
	}
}

// locker returns what a worker calls: an acquire and a release are one call each.
func (c *floorClient) locker(worker int) workload.Locker {
	call := func(ctx context.Context) error {
		if err := c.send(worker); err != nil {
			return err
		}
		select {
		case <-c.workers[worker]:
			return nil
		case <-c.ended:
			return errFloorGone
		}
	}
	return lockFunc(func(ctx context.Context, _ string) (func(context.Context) error, error) {
		return call, call(ctx)
	})
}

// send sends a call of a worker, together with those that come meanwhile.
func (c *floorClient) send(worker int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = binary.BigEndian.AppendUint64(c.pending, uint64(worker))
	c.pending = append(c.pending, make([]byte, floorCall-numberSize)...)
	if c.sending {
		return nil
	}
	c.sending = true
	var err error
	for err == nil && len(c.pending) > 0 {
		message := c.pending
		c.pending = nil
		c.mu.Unlock()
		err = c.conn.Send(message)
		c.mu.Lock()
	}
	c.sending = false
	return err
}
