package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/host"
)

func (a *app) serveCommand() *cobra.Command {
	var (
		path            string
		found, recovers bool
	)
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: groupNode,
		Short:   "Run a node",
		Long: `Run a node of the mesh.

Flags override the environment, the environment overrides the file, and the file
overrides the defaults. The environment variable of a key is SHARELOCK_ and the key
in capitals, with __ for the dot: SHARELOCK_HTTP__LISTEN. An unknown key is an error.

Without GOGC and GOMEMLIMIT in the environment, a node collects its garbage when
it exceeds 32 MiB and half of the live memory.

SIGHUP makes the node read its certificate, key and bundle of authorities again. It
also looks for changes by itself, every few seconds.

The first interrupt makes the node leave in good order: it hands over its partitions
and finishes open calls, for at most shutdown_timeout. A second interrupt, more than
half a second later, ends the node at once.`,
		Example: `  # the first three nodes found the mesh together, each with the same seeds
  sharelock serve --config config.yaml --node-name a --seeds 10.0.0.1:7946,10.0.0.2:7946,10.0.0.3:7946

  # a mesh of one node that others may join
  sharelock serve --found`,
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	fs.StringVarP(&path, "config", "c", "", "YAML file of settings")
	fs.BoolVar(&found, "found", false, "found a mesh that others may join, after every seed has answered that it is empty; without seeds, found it at once")
	fs.BoolVar(&recovers, "recover", false, "make a new mesh from this data directory alone, after a majority of the directories was lost for good; use it for one start only, see docs/recovery.md")
	byFlag := make(map[string]string)
	for _, f := range config.Flags() {
		fs.String(f.Name, "", f.Help)
		if f.Name == "insecure" { // alone it means true
			fs.Lookup(f.Name).NoOptDefVal = "true"
		}
		byFlag[f.Name] = f.Key
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var flags []config.Setting
		fs.Visit(func(f *pflag.Flag) {
			if name, ok := byFlag[f.Name]; ok {
				flags = append(flags, config.Setting{Key: name, Value: f.Value.String(), Source: "--" + f.Name})
			}
		})
		c, from, err := config.Load(path, a.environ, flags)
		if err != nil {
			return exit.Failure(err)
		}
		c.Mesh.Found, c.Mesh.Recover = found, recovers
		return a.host().Serve(cmd.Context(), c, from)
	}
	return cmd
}

// host returns this process as the host of nodes.
func (a *app) host() *host.Host {
	return &host.Host{
		Name: a.name(), Version: version(), Stdout: a.stdout, Stderr: a.stderr, Environ: a.environ, Alone: a.alone,
		Notify: a.notify, NewNode: a.newNode, OpenLatency: a.openLatency,
	}
}
