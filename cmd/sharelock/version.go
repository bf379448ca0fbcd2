package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	releases "github.com/sgkandale/sharelock/internal/release"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.printVersion() },
	}
}

func (a *app) printVersion() error {
	_, err := fmt.Fprintf(a.stdout, "sharelock %s %s %s/%s, release %d, works with meshes from release %d on\n",
		version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, releases.Current, releases.Oldest)
	if err != nil {
		return exit.Failure(err)
	}
	return nil
}

// version returns the version that the Go toolchain has stored in the binary.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
