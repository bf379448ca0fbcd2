// Command sharelock is the whole of ShareLock: a node of the mesh (serve, dev)
// and the tools to use one (lock, acquire, get, members and others).
//
// Run "sharelock help" for the list. Exit codes are the same in all commands:
//
//	0    done
//	1    failed; in lock and acquire: the lock was not obtained
//	64   bad usage
//	69   the mesh cannot be reached, or cannot serve
//	75   lock: the lock was lost and CMD was stopped
//	126  lock: CMD cannot be run
//	127  lock: CMD was not found
//	128+n  ended by signal n; in lock, CMD was
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
	endBy(a.endedBy)
	os.Exit(code)
}

// endBy ends the process by a signal as if nobody had handled it, which tells a shell in
// a loop, or a supervisor, more than an exit code does. It returns if that cannot be.
func endBy(sig syscall.Signal) {
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
		time.Sleep(time.Second) // another thread may be the one to take it
	}
}

// app is everything the commands touch outside of themselves, so that tests can
// run them in the process.
type app struct {
	// self is how this program was called; empty is "sharelock".
	self           string
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	// notify delivers signals until stop is called.
	notify func(sigs ...os.Signal) (c <-chan os.Signal, stop func())
	// newNode makes the nodes of serve and dev.
	newNode func(mesh.Config) (node, error)
	// alone is set if the process runs this command and nothing else: job control may
	// stop it, its terminal is for the command that it runs, and a sentinel watches it.
	alone bool
	// children starts processes.
	children *children
	// endedBy is the signal that has ended the command, 0 if none has.
	endedBy syscall.Signal
	// openLatency opens what keeps processors awake.
	openLatency func() (io.WriteCloser, error)
}

func notify(sigs ...os.Signal) (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 16)
	for _, sig := range sigs {
		// Whoever started us with a signal ignored, as nohup does, means it, for CMD,
		// too.
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
	return c, func() { signal.Stop(c) }
}

// run runs one command and gives the exit code of the process.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	e, ok := errors.AsType[*exitError](err)
	if !ok {
		// Only cobra's own complaints come here: unknown commands and flags, and wrong
		// numbers of arguments.
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
		Long: `ShareLock is a lock service made of equal peers: any node takes any request, and
every grant has a fencing token. Locks move to other nodes when a node leaves in
good order; they outlive its crash if there are copies (ring.replicas 2 or more).

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
		a.serveCommand(), a.devCommand(),
		a.lockCommand(), a.flockCommand(), a.acquireCommand(), a.renewCommand(), a.releaseCommand(), a.getCommand(), a.listCommand(),
		a.membersCommand(), a.locateCommand(), a.leaveCommand(), a.decommissionCommand(), a.benchCommand(),
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

// exitError ends the process with a code, and with a line on stderr if there is
// an error.
type exitError struct {
	code int
	err  error
	// by is the signal that ends the process if it can, so that who waits for it sees
	// that and not only the code.
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

// interrupted is the cause of a context that a signal has ended.
type interrupted struct{ sig syscall.Signal }

func (i interrupted) Error() string { return i.sig.String() }

// callError gives the error of a call of the client's its exit code.
func callError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*exitError](err); ok {
		return err
	}
	code := exitFailed
	switch {
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, client.ErrWrongPort), errors.Is(err, client.ErrTooSlow),
		errors.Is(err, sharelock.ErrNoQuorum), errors.Is(err, sharelock.ErrNotReady), errors.Is(err, sharelock.ErrQuarantined):
		code = exitUnreachable
	case errors.Is(err, sharelock.ErrInvalidArgument):
		code = exitUsage
	}
	if i, ok := errors.AsType[interrupted](err); ok {
		return &exitError{code: exitSignal + int(i.sig), by: i.sig}
	}
	if e, ok := errors.AsType[*sharelock.Error](err); ok && e.Err == sharelock.ErrLockHeld {
		err = fmt.Errorf("%w%s", err, holders(e))
	}
	return &exitError{code: code, err: cannotServe(err)}
}

// cannotServe is an error in better words if a node was reached and answered that
// it cannot serve: the client counts that as unreachable, people do not.
func cannotServe(err error) error {
	e, ok := errors.AsType[*sharelock.Error](err)
	if !ok || e.Err != sharelock.ErrNoQuorum && e.Err != sharelock.ErrNotReady && e.Err != sharelock.ErrQuarantined {
		return err
	}
	return fmt.Errorf("the mesh cannot serve: %w", e)
}

// notObtained gives an error of callError's another exit code if others hold the lock.
func notObtained(err error, code int) error {
	e, ok := errors.AsType[*exitError](err)
	if !ok || e.code != exitFailed || !errors.Is(e.err, sharelock.ErrLockHeld) {
		return err
	}
	return &exitError{code: code, err: e.err}
}

// holders tells who is in the way.
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

// oneLine is an error's text without line breaks: errors that were joined have
// some, and a message of the mesh's may.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return printable(strings.Join(lines, "; "))
}
