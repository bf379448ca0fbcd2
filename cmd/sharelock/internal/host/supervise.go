package host

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// supervise waits until the node ends by itself, or ends it after a signal. SIGHUP makes it reload
// its files.
func (h *Host) supervise(ctx context.Context, c config.Config, n Node, signals <-chan os.Signal) error {
	var first time.Time
	for waiting := true; waiting; {
		select {
		case <-n.Done():
			n.Kill()
			if err := n.Err(); err != nil {
				return exit.Failure(err)
			}
			return nil // the node was asked to leave
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP:
				reload(c, n)
				continue
			case levelSignal:
				toggleDebug(c)
				continue
			}
			first = time.Now()
			c.Mesh.Logger.Info("leaving", "signal", sig.String(), "timeout", c.Mesh.ShutdownTimeout)
		case <-ctx.Done():
		}
		waiting = false
	}

	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Mesh.ShutdownTimeout)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop(bounded) }()
	for {
		select {
		case err := <-stopped:
			if err != nil {
				return exit.Failure(fmt.Errorf("stop: %w", err))
			}
			return nil
		case sig := <-signals:
			if sig != syscall.SIGHUP && sig != levelSignal && time.Since(first) > sameSignal {
				return endAtOnce(n, sig)
			}
		}
	}
}

// reload makes the node read its files again, as far as it can while it runs.
func reload(c config.Config, n Node) {
	c.Mesh.Audit.Reopen()
	if err := n.Reload(); err != nil {
		c.Mesh.Logger.Error("reload: some of what was set before remains", "error", err)
		return
	}
	c.Mesh.Logger.Info("reloaded")
}

// endAtOnce kills the node after a second signal.
func endAtOnce(n Node, sig os.Signal) error {
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		n.Kill()
	}()
	select {
	case <-killed:
	case <-time.After(killTime):
	}
	return &exit.Error{Code: exit.Signal + exit.Number(sig), Err: fmt.Errorf("ended at once by a second signal: %v", sig)}
}
