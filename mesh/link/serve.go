package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/sgkandale/sharelock/mesh/network"
)

// Serve serves the links of other members, whose streams the listener accepts as [*Stream], until
// it is closed.
func (ls *Links) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		stream, ok := conn.(*Stream)
		if ok {
			network.ResetOnClose(stream.Conn)
		}
		if !ok || !ls.cfg.Spawn(func() {
			f := newFrames(stream, silence*ls.cfg.Views.Lease())
			if err := ls.serve(f, stream.from); err != nil && ls.cfg.Context.Err() == nil {
				ls.cfg.Log.Debug("a member's link broke", "member", stream.from, "error", err)
			}
		}) {
			_ = conn.Close()
		}
	}
}

// serve serves what the member with this printed identity forwards, and the operations of its
// partitions.
func (ls *Links) serve(f Frames, from string) error {
	defer f.Close() //nolint:errcheck // it is broken already
	e := newOwnerEnd(ls.cfg.Views, from)
	ls.begin(e)
	defer ls.finish(e)
	received := make(chan error, 1)
	if !ls.cfg.Spawn(func() {
		err := e.receive(f)
		// Here, behind the last request that was submitted and before a newer stream's requests can
		// meet this one's.
		e.down()
		received <- err
		close(received)
	}) {
		return errClosed
	}
	defer func() {
		_ = f.Close()
		for range received { // it ends with f
		}
	}()
	// Sending may take long, see frame.Conn; the end of the process does not wait for it.
	defer context.AfterFunc(ls.cfg.Context, func() { _ = f.Close() })()
	return e.send(ls.cfg.Context, f, received)
}

// send writes what waits at the owner's end, until the receiver ends, nothing is heard, the other
// end is no member any more, or ctx ends.
func (e *ownerEnd) send(ctx context.Context, f Frames, received <-chan error) error {
	look := time.NewTicker(e.views.Lease())
	defer look.Stop()
	stopping := ctx.Done()
	quiet := 0 // periods of look in which nothing came
	var frame []byte
	for {
		changed := e.views.Changed()
		if a := e.views.Now(); a != nil && !e.memberOf(a) {
			// A1: what a process says that is no member (any more) does not count.
			return fmt.Errorf("%s is not in view %d", e.from, a.Epoch)
		}
		select {
		case <-changed:
			continue
		case err := <-received:
			return err
		case <-stopping:
			return errClosed
		case <-look.C:
			if quiet++; e.spoke.Swap(false) {
				quiet = 0
			}
			if quiet > silence {
				return errors.New("no data was received on it")
			}
			continue
		case <-e.wake:
			runtime.Gosched() // goroutines that are about to answer something come first (A4)
		}
		for frame = e.take(frame[:0]); len(frame) > 0; frame = e.take(frame[:0]) {
			if err := f.Send(frame); err != nil {
				return err
			}
			if cap(frame) > maxBatchBytes {
				frame = nil
			}
		}
	}
}
