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
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/host"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/job"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	"github.com/sgkandale/sharelock/mesh"
)

func main() {
	host.SampleMemory()
	if code, ok := job.RunHidden(os.Args[1:]); ok {
		os.Exit(code)
	}
	children, stop := job.ReapChildren()
	a := &app{
		alone: true, children: children,
		self:  os.Args[0],
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(),
		notify:      notify,
		newNode:     func(cfg mesh.Config) (host.Node, error) { return mesh.New(cfg) },
		openLatency: host.OpenLatency,
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

// dieBySignal ends the process by a signal, as if the process did not handle it. A shell in a loop or a
// supervisor then sees the signal and not only an exit code. dieBySignal returns if the process cannot
// end by this signal.
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

// app holds everything that the commands use of the process and the system, so that tests can run the
// commands in their own process.
type app struct {
	// self is the name by which this program was called; empty means "sharelock".
	self           string
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	// notify delivers signals until stop is called.
	notify func(sigs ...os.Signal) (c <-chan os.Signal, stop func())
	// newNode makes the nodes of serve and dev.
	newNode func(mesh.Config) (host.Node, error)
	// alone is set if the process runs this command and nothing else. Then job control may
	// stop the process, the command may use its terminal, and a sentinel watches the process.
	alone bool
	// children starts processes.
	children *job.Children
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
		return exit.OK
	}
	e, ok := errors.AsType[*exit.Error](err)
	if !ok {
		// These are cobra's own errors: unknown commands and flags, and wrong numbers of
		// arguments.
		e = &exit.Error{Code: exit.Usage, Err: fmt.Errorf("%w (see '%s --help')", err, cmd.CommandPath())}
	}
	if e.Err != nil {
		fmt.Fprintf(a.stderr, "sharelock: %s\n", text.OneLine(e.Err))
	}
	a.endedBy = e.By
	return e.Code
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
