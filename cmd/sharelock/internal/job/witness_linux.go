package job

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// runSentinel is the sentinel's main function.
func runSentinel() int {
	if kind, err := unix.GetsockoptInt(sentinelSocket, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		fmt.Fprintln(os.Stderr, "sharelock: the sentinel command is started by sharelock lock; do not call it")
		return exit.Usage
	}
	closeInherited()
	got := make(chan os.Signal, 16)
	signal.Notify(got, append(Forwarded(), unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)...)
	asked := make(chan int64)
	go func() {
		for {
			select {
			case sig := <-got:
				report(msgSignal, int64(exit.Number(sig)))
			case n := <-asked:
				reportAll(got)
				report(msgAsk, n)
			}
		}
	}()
	report(msgReady, 0)
	watchOver(newBootTimer(), asked)
	return exit.OK
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
			report(msgSignal, int64(exit.Number(sig)))
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
