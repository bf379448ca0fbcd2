package job

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// Children reaps the children that this process did not start. These are children of a shell
// that has replaced itself by this process and, if this process is PID 1 of a container, all
// orphans. Nobody else waits for them. A nil Children reaps nothing.
type Children struct {
	// mu guards own. It is held while a child is started, so that the child is not reaped
	// before it is in own.
	mu  sync.Mutex
	own map[int]bool
}

// ReapChildren reaps until stop is called.
func ReapChildren() (c *Children, stop func()) {
	c = &Children{own: map[int]bool{}}
	died, end := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(died, unix.SIGCHLD)
	var reaping sync.WaitGroup
	reaping.Go(func() {
		for {
			c.reap()
			select {
			case <-died:
			case <-end:
				return
			}
		}
	})
	return c, func() {
		signal.Stop(died)
		close(end)
		reaping.Wait()
	}
}

// start starts a command. The caller must call its Wait.
func (c *Children) start(cmd *exec.Cmd) error {
	if c == nil {
		return cmd.Start()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := cmd.Start()
	if err == nil {
		c.own[cmd.Process.Pid] = true
	}
	return err
}

// reap waits for every dead child that start did not start.
func (c *Children) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		pid := childOf(&info).pid
		// Other dead children may follow one of our own, which is about to be waited for.
		if err != nil || pid == 0 || c.own[int(pid)] {
			return
		}
		_, _ = unix.Wait4(int(pid), nil, unix.WNOHANG, nil)
	}
}
