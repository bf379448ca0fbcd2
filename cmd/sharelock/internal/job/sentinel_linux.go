package job

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sentinelCommand is the hidden command that runs a sentinel.
const sentinelCommand = "sentinel"

const (
	// sentinelSocket is the descriptor of the socket between a sentinel and its process.
	sentinelSocket = 3
	// sentinelStart bounds how long the start of a sentinel may take.
	sentinelStart = 10 * time.Second
	// sentinelLook is the interval at which a sentinel reads the clock if no timer counts the
	// time in suspend.
	sentinelLook = time.Second
)

// sentinel is a process that kills CMD's process group when this process cannot: when this process
// has died, or when it is stopped or starved until the lock can be lost. The sentinel has a session
// of its own, so signals of the terminal and signals to process groups do not reach it, and it
// ignores signals that are sent to every process of a control group.
//
// A nil sentinel does nothing. The methods must be called from one goroutine, except ask.
type sentinel struct {
	cmd    *exec.Cmd
	socket *os.File
	fd     int
	// told is the last deadline that was sent, by bootTime.
	told time.Duration
	// isReady is closed when signals no longer end the sentinel, and ended when it has ended.
	isReady, ended chan struct{}
	// witnessed receives the signals that the sentinel got, and its answers.
	witnessed chan witnessed
	// killed is set when the sentinel has killed CMD. Only hear may use it until hear has
	// ended.
	killed  bool
	hearing sync.WaitGroup

	mu     sync.Mutex
	closed bool // whether the socket is closed; guarded by mu
}

// startSentinel starts a sentinel and does not wait until it is ready. The sentinel guards group,
// unless that is 0, with the given deadline from its start on.
func startSentinel(c *Children, group int, deadline time.Duration) (*sentinel, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	s := &sentinel{
		fd: pair[0], socket: os.NewFile(uintptr(pair[0]), "sentinel"),
		isReady: make(chan struct{}), ended: make(chan struct{}), witnessed: make(chan witnessed, 64),
	}
	theirs := os.NewFile(uintptr(pair[1]), "sentinel")
	defer theirs.Close() //nolint:errcheck // the sentinel has a copy
	s.until(deadline)
	s.guard(group)
	// This is the program file of this process, even if it was replaced or removed since.
	s.cmd = exec.Command("/proc/self/exe", sentinelCommand) //nolint:noctx // it ends by itself
	s.cmd.Args[0] = "sharelock"
	s.cmd.Dir = "/"
	s.cmd.Env = []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}
	s.cmd.ExtraFiles = []*os.File{theirs}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.start(s.cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("start the sentinel: %w", err), s.socket.Close())
	}
	s.hearing.Go(s.hear)
	return s, nil
}

// hear reads messages of the sentinel until it ends.
func (s *sentinel) hear() {
	defer close(s.ended)
	defer s.cmd.Wait() //nolint:errcheck // how it ended does not matter
	var buf [16]byte
	for ready := false; ; {
		n, err := s.socket.Read(buf[:])
		if err != nil {
			return
		}
		switch kind, number := parseMessage(buf[:n]); kind {
		case msgReady:
			if !ready {
				ready = true
				close(s.isReady)
			}
		case msgKilled:
			s.killed = true
		case msgSignal:
			s.tell(witnessed{sig: syscall.Signal(number)})
		case msgAsk:
			s.tell(witnessed{answer: number})
		}
	}
}

// tell passes on a message of the sentinel. It drops the message if the channel is full; the
// kernel merges signals as well.
func (s *sentinel) tell(w witnessed) {
	select {
	case s.witnessed <- w:
	default:
	}
}

// ready blocks until the sentinel is ready.
func (s *sentinel) ready() error {
	if s == nil {
		return nil
	}
	timer := time.NewTimer(sentinelStart)
	defer timer.Stop()
	select {
	case <-s.isReady:
		return nil
	case <-s.ended:
		return errors.New("the sentinel ended at its start")
	case <-timer.C:
		return errors.New("the sentinel did not start in time")
	}
}

// signals returns a channel of the signals that the sentinel got. These were sent to every
// process, and so to CMD, too.
func (s *sentinel) signals() <-chan witnessed {
	if s == nil {
		return nil
	}
	return s.witnessed
}

// ask asks the sentinel which signals it has got. It reports false if there will be no answer.
// It is safe for concurrent use with the other methods.
func (s *sentinel) ask(number int64) bool {
	return s != nil && !s.gone() && s.send(msgAsk, number)
}

// gone reports whether the sentinel has ended.
func (s *sentinel) gone() bool {
	if s == nil {
		return false
	}
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// allow tells the sentinel how long CMD may run, and returns that time.
func (s *sentinel) allow(remaining func() time.Duration) time.Duration {
	// The clock is read first, so that the deadline is not later than the lock's.
	now := bootTime()
	left := remaining()
	s.until(now + left)
	return left
}

// until tells the sentinel the time until which CMD may run, if that is later than before.
func (s *sentinel) until(deadline time.Duration) {
	if s == nil || deadline <= s.told {
		return
	}
	s.told = deadline
	s.send(msgDeadline, int64(deadline))
}

// guard tells the sentinel CMD's process group.
func (s *sentinel) guard(group int) {
	if s != nil && group != 0 {
		s.send(msgGroup, int64(group))
	}
}

// send sends a message and reports whether it was sent. It never blocks: a message that does not
// fit into the socket is lost. That happens only if the sentinel is stopped, and the next deadline
// replaces a lost one.
func (s *sentinel) send(kind byte, number int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	_, err := unix.SendmsgN(s.fd, message(kind, number), nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	return err == nil
}

// close ends the sentinel without killing anything, and waits for it. It reports whether the
// sentinel had killed CMD.
func (s *sentinel) close() (killed bool) {
	if s == nil {
		return false
	}
	s.send(msgEnd, 0)
	// A stopped sentinel would not end by itself.
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	timer := time.AfterFunc(time.Second, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	<-s.ended
	s.hearing.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.socket.Close()
	return s.killed
}
