// Command sharelock contains everything of ShareLock: nodes of a mesh (serve, dev)
// and client commands (lock, acquire, get, members and others).
//
// Run "sharelock help" for the list. All commands use the same exit codes:
//
//	0    done
//	1    failed; in lock and acquire: the lock was not obtained
//	64   bad usage
//	69   the mesh cannot be reached, or cannot serve
//	75   lock: the lock was lost and CMD was stopped
//	126  lock: CMD cannot be run
//	127  lock: CMD was not found
//	128+n  ended by signal n; in lock, CMD was ended by it
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/mesh"
)

func main() {
	if code, ok := runHidden(os.Args[1:]); ok {
		os.Exit(code)
	}
	children, stop := reapChildren()
	a := &app{
		alone: true, children: children,
		self:  os.Args[0],
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(),
		notify:      notify,
		newNode:     func(cfg mesh.Config) (node, error) { return mesh.New(cfg) },
		openLatency: openLatency,
	}
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == flockName {
		args = append([]string{flockName}, args...)
	}
	code := a.run(context.Background(), args)
	stop()
	dieBySignal(a.endedBy)
	os.Exit(code)
}

// dieBySignal ends the process by a signal, as if the process did not handle it. A shell in a loop
// or a supervisor learns more from that than from an exit code. dieBySignal returns if the process
// cannot end by this signal.
func dieBySignal(sig syscall.Signal) {
	switch sig {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP:
	default:
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil || os.Getpid() == 1 || signal.Ignored(sig) {
		return
	}
	signal.Reset(sig)
	if self.Signal(sig) == nil {
		time.Sleep(time.Second) // the signal may be delivered to another thread
	}
}

// app holds everything that the commands use of the process and the system, so that tests
// can run the commands in their own process.
type app struct {
	// self is the name by which this program was called; empty means "sharelock".
	self           string
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	// notify delivers signals until stop is called.
	notify func(sigs ...os.Signal) (c <-chan os.Signal, stop func())
	// newNode makes the nodes of serve and dev.
	newNode func(mesh.Config) (node, error)
	// alone is set if the process runs this command and nothing else. Then job control may
	// stop the process, the command may use its terminal, and a sentinel watches the process.
	alone bool
	// children starts processes.
	children *children
	// endedBy is the signal that ended the command, or 0.
	endedBy syscall.Signal
	// openLatency opens the device that keeps processors awake.
	openLatency func() (io.WriteCloser, error)
}

func notify(sigs ...os.Signal) (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 16)
	for _, sig := range sigs {
		// If this process was started with a signal ignored, as by nohup, the signal
		// stays ignored, also for CMD.
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
	return c, func() { signal.Stop(c) }
}

// run runs one command and returns the exit code of the process.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	e, ok := errors.AsType[*exitError](err)
	if !ok {
		// These are cobra's own errors: unknown commands and flags, and wrong numbers of
		// arguments.
		e = &exitError{code: exitUsage, err: fmt.Errorf("%w (see '%s --help')", err, cmd.CommandPath())}
	}
	if e.err != nil {
		fmt.Fprintf(a.stderr, "sharelock: %s\n", oneLine(e.err))
	}
	a.endedBy = e.by
	return e.code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sharelock",
		Short: "A lock service made of equal peers",
		Long: `ShareLock is a lock service made of equal peers: any node accepts any request, and
every grant has a fencing token. When a node leaves in good order, its locks move
to other nodes. When it crashes, its locks survive if there are backups
(ring.replicas 2 or more).

Exit codes: 0 done, 1 failed or lock not obtained, 64 bad usage, 69 the mesh
cannot be reached or cannot serve, 75 the lock was lost while CMD ran, 128+n
ended by signal n.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.AddGroup(
		&cobra.Group{ID: groupNode, Title: "Nodes:"},
		&cobra.Group{ID: groupLock, Title: "Locks:"},
		&cobra.Group{ID: groupMesh, Title: "The mesh:"},
	)
	root.AddCommand(
		a.serveCommand(), a.devCommand(), a.configCommand(), a.healthCommand(), a.logLevelCommand(), a.debugCommand(), a.tlsCommand(),
		a.lockCommand(), a.flockCommand(), a.acquireCommand(), a.renewCommand(), a.releaseCommand(), a.getCommand(), a.listCommand(), a.watchCommand(), a.historyCommand(),
		a.membersCommand(), a.topCommand(), a.locateCommand(), a.leaveCommand(), a.decommissionCommand(), a.keyringCommand(), a.authCommand(), a.contextCommand(), a.benchCommand(),
		a.versionCommand(),
	)
	root.InitDefaultCompletionCmd()
	return root
}

// The groups of the help text.
const (
	groupNode = "node"
	groupLock = "lock"
	groupMesh = "mesh"
)

// The exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 64  // EX_USAGE
	exitUnreachable = 69  // EX_UNAVAILABLE
	exitLost        = 75  // EX_TEMPFAIL
	exitCannotRun   = 126 // as in shells
	exitNotFound    = 127
	exitSignal      = 128
)

// exitError is an error that ends the process with a code. If err is not nil, it is
// printed in one line on stderr.
type exitError struct {
	code int
	err  error
	// by is the signal that ends the process, if possible, so that its parent sees the
	// signal and not only the code. It is 0 if there is none.
	by syscall.Signal
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func failed(err error) error { return &exitError{code: exitFailed, err: err} }

// interrupted is the cause of a context that a signal has canceled.
type interrupted struct{ sig syscall.Signal }

func (i interrupted) Error() string { return i.sig.String() }

// callError returns the error of a client call with its exit code.
func callError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*exitError](err); ok {
		return err
	}
	code := exitFailed
	switch {
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, sharelock.ErrWrongPort), errors.Is(err, client.ErrLost),
		errors.Is(err, sharelock.ErrNoQuorum), errors.Is(err, sharelock.ErrNotReady), errors.Is(err, sharelock.ErrQuarantined):
		code = exitUnreachable
	case errors.Is(err, sharelock.ErrInvalidArgument):
		code = exitUsage
	}
	if i, ok := errors.AsType[interrupted](err); ok {
		return &exitError{code: exitSignal + int(i.sig), by: i.sig}
	}
	if e, ok := errors.AsType[*sharelock.Error](err); ok && errors.Is(e.Err, sharelock.ErrLockHeld) {
		err = fmt.Errorf("%w%s", err, holders(e))
	}
	return &exitError{code: code, err: cannotServe(err)}
}

// cannotServe rewords an error if a node was reached and answered that it cannot serve. The
// client counts such a node as unreachable; a user would not.
func cannotServe(err error) error {
	e, ok := errors.AsType[*sharelock.Error](err)
	if ok && (errors.Is(e.Err, sharelock.ErrNoQuorum) || errors.Is(e.Err, sharelock.ErrNotReady) || errors.Is(e.Err, sharelock.ErrQuarantined)) {
		return fmt.Errorf("the mesh cannot serve: %w", e)
	}
	return err
}

// notObtained changes the exit code of an error from callError if others hold the lock.
func notObtained(err error, code int) error {
	e, ok := errors.AsType[*exitError](err)
	if !ok || e.code != exitFailed || !errors.Is(e.err, sharelock.ErrLockHeld) {
		return err
	}
	return &exitError{code: code, err: e.err}
}

// holders returns the holders of the key as text, at most three of them by name.
func holders(e *sharelock.Error) string {
	if len(e.Holds) == 0 {
		return ""
	}
	names := make([]string, 0, 3)
	for i, h := range e.Holds {
		if i == 3 {
			names = append(names, fmt.Sprintf("%d more", len(e.Holds)-i))
			break
		}
		names = append(names, fmt.Sprintf("%s with token %v for %s", printable(h.ClientID), h.Token, short(h.ExpiresIn)))
	}
	return fmt.Sprintf(", by %s; %d waiting", strings.Join(names, ", "), e.Queue)
}

// oneLine returns an error's text without line breaks. Joined errors contain line breaks,
// and a message from the mesh may contain some.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return printable(strings.Join(lines, "; "))
}
