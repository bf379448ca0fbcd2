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

	"github.com/sgkandale/sharelock/internal/intconv"
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

// The messages between a process and its sentinel: a letter and a number.
const (
	msgReady    = 'r' // from the sentinel: signals no longer end it
	msgSignal   = 's' // from the sentinel: it got this signal
	msgKilled   = 'k' // from the sentinel: the deadline has passed, it kills CMD
	msgGroup    = 'g' // the process group of CMD
	msgDeadline = 'd' // CMD may run until this time of bootTime, in ns
	msgEnd      = 'x' // CMD has ended; there is nothing left to guard
	msgAsk      = 'a' // which signals has the sentinel got? The answer has the same letter and number
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

func message(kind byte, value int64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{kind}, intconv.Bits(value))
}

// parseMessage returns kind 0 if b is not a message.
func parseMessage(b []byte) (kind byte, value int64) {
	if len(b) != 9 {
		return 0, 0
	}
	return b[0], intconv.Signed(binary.LittleEndian.Uint64(b[1:]))
}

// bootTime returns the time of a clock that includes the time in suspend and is the same in all
// processes.
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
		fmt.Fprintln(os.Stderr, "sharelock: the sentinel command is started by sharelock lock; do not call it")
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

// reportAll reports all signals that were sent to this process before the call.
func reportAll(got chan os.Signal) {
	for tries := 0; tries < 100 && pending(); tries++ {
		time.Sleep(time.Millisecond) // another thread is about to take the signal
	}
	time.Sleep(handoverTime)
	// signal.Stop returns after all signals that the runtime has caught are delivered.
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

// handoverTime is how long a thread may take to hand a signal to the runtime after taking it from
// the kernel. Nothing shows the signal in between.
const handoverTime = 20 * time.Millisecond

// pending reports whether the kernel has a pending signal for this process that no thread has
// taken.
func pending() bool {
	status, err := os.ReadFile("/proc/self/status")
	_, after, ok := bytes.Cut(status, []byte("ShdPnd:"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	return err == nil && ok && len(bytes.Trim(line, "0 \t")) > 0
}

// report sends a message to the process that the sentinel belongs to.
func report(kind byte, number int64) {
	_, _ = unix.SendmsgN(sentinelSocket, message(kind, number), nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// closeInherited closes files that sharelock inherited from its parent for CMD: a pipe or a lock of
// the parent must not stay open as long as the sentinel lives.
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
		// The runtime's own files are anonymous inodes.
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
			go func() { asked <- number }() // must not delay the deadline
			continue
		case kind == msgEnd:
			return
		}
		// All messages have been read, so the deadline is up to date.
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

// next reads a message without blocking. kind is 0 if there is none. open is false when the
// other end is closed.
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

// killGroup kills a whole process group atomically: the kernel lets no fork escape.
func killGroup(group int) {
	if group > 1 {
		_ = unix.Kill(-group, unix.SIGKILL)
		_ = unix.Kill(group, unix.SIGKILL) // in case it has joined another group
	}
}

// bootTimer is the descriptor of a timer that counts time in suspend, or -1 if the system has
// none.
type bootTimer int

func newBootTimer() bootTimer {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return -1
	}
	return bootTimer(fd)
}

// wait returns at a message or at a time of bootTime. Without a timer it returns when left has
// passed by a clock that may stop while the machine is suspended.
func (t bootTimer) wait(at, left time.Duration) {
	if t >= 0 && at > 0 {
		_ = unix.TimerfdSettime(int(t), unix.TFD_TIMER_ABSTIME, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}, nil)
	}
	ms := int((min(left, sentinelLook) + time.Millisecond - 1) / time.Millisecond)
	// An error means that a signal came.
	_, _ = unix.Poll([]unix.PollFd{
		{Fd: sentinelSocket, Events: unix.POLLIN},
		{Fd: int32(t), Events: unix.POLLIN}, //nolint:gosec // a descriptor
	}, ms)
}
