package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sentinelCommand is the hidden command that runs a sentinel.
const sentinelCommand = "sentinel"

const (
	// sentinelSocket is the descriptor on which a sentinel hears its process.
	sentinelSocket = 3
	// sentinelStart bounds how long the start of a sentinel may take.
	sentinelStart = 10 * time.Second
	// sentinelLook is how often a sentinel reads the clock where no timer counts the
	// time that the machine was suspended.
	sentinelLook = time.Second
)

// The messages between a process and its sentinel: a letter and a number.
const (
	msgReady    = 'r' // from the sentinel: signals no longer end it
	msgSignal   = 's' // from the sentinel: it got this signal
	msgKilled   = 'k' // from the sentinel: the deadline has passed, it kills CMD
	msgGroup    = 'g' // the process group of CMD
	msgDeadline = 'd' // CMD may run until this time of bootTime, in ns
	msgOver     = 'x' // CMD has ended; there is nothing left to guard
	msgAsk      = 'a' // which signals has the sentinel got? The answer has the same letter and number
)

// sentinel is a process that kills CMD's process group when this process no longer can:
// when it has died, or when it is stopped, or starved, until the lock can be lost. It has
// a session of its own, so that neither the terminal's signals nor those to process
// groups reach it, and it ignores those that are sent to every process of a control group.
//
// A nil sentinel does nothing. Its methods are for one goroutine.
type sentinel struct {
	cmd    *exec.Cmd
	socket *os.File
	fd     int
	// told is the deadline that it was told last, by bootTime.
	told time.Duration
	// isReady is closed when signals no longer end it, ended when it has ended.
	isReady, ended chan struct{}
	// witnessed are the signals that it got, and its answers.
	witnessed chan witnessed
	// killed is set when it has killed CMD. It belongs to hear until that has ended.
	killed  bool
	hearing sync.WaitGroup

	mu     sync.Mutex
	closed bool // the socket is; guarded by mu
}

// startSentinel starts a sentinel, and does not wait until it is ready. It knows of group,
// unless that is 0, and of the time from its first moment on.
func startSentinel(c *children, group int, deadline time.Duration) (*sentinel, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	s := &sentinel{
		fd: pair[0], socket: os.NewFile(uintptr(pair[0]), "sentinel"),
		isReady: make(chan struct{}), ended: make(chan struct{}), witnessed: make(chan witnessed, 64),
	}
	theirs := os.NewFile(uintptr(pair[1]), "sentinel")
	defer theirs.Close() //nolint:errcheck // it has a copy
	s.until(deadline)
	s.guard(group)
	// Its own program file, even if that was replaced or removed since.
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

// hear reads what the sentinel says until it ends.
func (s *sentinel) hear() {
	defer close(s.ended)
	defer s.cmd.Wait() //nolint:errcheck // how it ended makes no difference
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

// tell hands on what the sentinel says, unless nobody listens: then it is dropped, as the kernel
// merges signals.
func (s *sentinel) tell(w witnessed) {
	select {
	case s.witnessed <- w:
	default:
	}
}

// ready blocks until the sentinel is on guard.
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
		return errors.New("the sentinel has ended at its start")
	case <-timer.C:
		return errors.New("the sentinel does not start")
	}
}

// signals are the signals that the sentinel got: those that were sent to every process
// about, and so to CMD, too.
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

// allow tells it for how long CMD may run, and returns that.
func (s *sentinel) allow(remaining func() time.Duration) time.Duration {
	// The clock first: the deadline must not be later than the lock's.
	now := bootTime()
	left := remaining()
	s.until(now + left)
	return left
}

// until tells it the time up to which CMD may run, if that is later than before.
func (s *sentinel) until(deadline time.Duration) {
	if s == nil || deadline <= s.told {
		return
	}
	s.told = deadline
	s.send(msgDeadline, int64(deadline))
}

// guard tells it CMD's process group.
func (s *sentinel) guard(group int) {
	if s != nil && group != 0 {
		s.send(msgGroup, int64(group))
	}
}

// send never blocks. A message that finds no room is lost: that happens only to a
// sentinel that is stopped, and of its deadlines the next tells the same. It reports whether
// the message was sent.
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
	s.send(msgOver, 0)
	// Should it be stopped, so that it would not end by itself.
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

func message(kind byte, number int64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{kind}, uint64(number))
}

// parseMessage returns 0 for what is no message.
func parseMessage(b []byte) (kind byte, number int64) {
	if len(b) != 9 {
		return 0, 0
	}
	return b[0], int64(binary.LittleEndian.Uint64(b[1:]))
}

// bootTime is a clock that counts the time that the machine was suspended, and is the
// same in all processes.
func bootTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	}
	return time.Duration(ts.Nano())
}

// runSentinel is the sentinel's main function.
func runSentinel() int {
	if kind, err := unix.GetsockoptInt(sentinelSocket, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		fmt.Fprintln(os.Stderr, "sharelock: sentinel is started by sharelock lock, and not to be called")
		return exitUsage
	}
	closeInherited()
	got := make(chan os.Signal, 16)
	signal.Notify(got, append(forwarded(), unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)...)
	asked := make(chan int64)
	go func() {
		for {
			select {
			case sig := <-got:
				report(msgSignal, int64(number(sig)))
			case n := <-asked:
				reportAll(got)
				report(msgAsk, n)
			}
		}
	}()
	report(msgReady, 0)
	watchOver(newBootTimer(), asked)
	return exitOK
}

// reportAll reports all signals that were sent to this process before.
func reportAll(got chan os.Signal) {
	for tries := 0; tries < 100 && pending(); tries++ {
		time.Sleep(time.Millisecond) // another thread is about to take it
	}
	time.Sleep(takenTime)
	// Stop returns when all the signals that the runtime has caught are delivered.
	settled := make(chan os.Signal, 1)
	signal.Notify(settled, unix.SIGTERM)
	signal.Stop(settled)
	for {
		select {
		case sig := <-got:
			report(msgSignal, int64(number(sig)))
		default:
			return
		}
	}
}

// takenTime is how long a thread may take to tell the runtime of a signal that it has taken from
// the kernel, which nothing shows.
const takenTime = 20 * time.Millisecond

// pending reports whether the kernel has a signal for this process that no thread has taken.
func pending() bool {
	status, err := os.ReadFile("/proc/self/status")
	_, after, ok := bytes.Cut(status, []byte("ShdPnd:"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	return err == nil && ok && len(bytes.Trim(line, "0 \t")) > 0
}

// report says something to the process that the sentinel belongs to.
func report(kind byte, number int64) {
	_, _ = unix.SendmsgN(sentinelSocket, message(kind, number), nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// closeInherited closes the files that came from whoever started sharelock, which it
// passes on to CMD: a pipe or a lock of theirs must not live as long as the sentinel.
func closeInherited() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= sentinelSocket {
			continue
		}
		// The runtime's own are of this kind.
		if name, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(name, "anon_inode:") {
			_ = unix.Close(fd)
		}
	}
}

// watchOver kills CMD's group when the deadline has passed, or when the process that
// the sentinel belongs to is gone.
func watchOver(timer bootTimer, asked chan<- int64) {
	var (
		group    int
		deadline time.Duration
	)
	for {
		kind, number, open := next()
		switch {
		case !open:
			killGroup(group)
			return
		case kind == msgGroup:
			group = int(number)
			continue
		case kind == msgDeadline:
			deadline = time.Duration(number)
			continue
		case kind == msgAsk:
			go func() { asked <- number }() // the deadline goes on
			continue
		case kind == msgOver:
			return
		}
		// All messages are read: what may have been extended has been.
		left := deadline - bootTime()
		if group != 0 && left <= 0 {
			report(msgKilled, 0)
			killGroup(group)
			return
		}
		if group == 0 {
			left = sentinelLook
		}
		timer.wait(deadline, left)
	}
}

// next reads a message, without waiting for one: kind is 0 if there is none. open is
// false when the other end is closed.
func next() (kind byte, number int64, open bool) {
	var buf [16]byte
	for {
		n, _, _, _, err := unix.Recvmsg(sentinelSocket, buf[:], nil, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return 0, 0, true
		case err != nil || n == 0:
			return 0, 0, false
		}
		if kind, number = parseMessage(buf[:n]); kind != 0 {
			return kind, number, true
		}
	}
}

// killGroup kills a whole process group, at once and completely: the kernel lets no
// fork escape it.
func killGroup(group int) {
	if group > 1 {
		_ = unix.Kill(-group, unix.SIGKILL)
		_ = unix.Kill(group, unix.SIGKILL) // should it have joined another group
	}
}

// bootTimer is a timer that runs while the machine is suspended; -1 where the system
// has none.
type bootTimer int

func newBootTimer() bootTimer {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return -1
	}
	return bootTimer(fd)
}

// wait returns at a message, at a time of bootTime, or, for want of a timer, when left
// has passed by a clock that may have been stopped meanwhile.
func (t bootTimer) wait(at, left time.Duration) {
	if t >= 0 && at > 0 {
		_ = unix.TimerfdSettime(int(t), unix.TFD_TIMER_ABSTIME, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}, nil)
	}
	ms := int((min(left, sentinelLook) + time.Millisecond - 1) / time.Millisecond)
	// Its error is that a signal came.
	_, _ = unix.Poll([]unix.PollFd{
		{Fd: sentinelSocket, Events: unix.POLLIN},
		{Fd: int32(t), Events: unix.POLLIN},
	}, ms)
}
