package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		GroupID: groupNode,
		Short:   "Check the settings of a node, or show them",
		Args:    cobra.NoArgs,
	}
	cmd.RunE = func(*cobra.Command, []string) error {
		return exit.Usagef("want check or show (see 'sharelock config --help')")
	}
	cmd.AddCommand(a.configCheckCommand(), a.configShowCommand())
	return cmd
}

func (a *app) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a file of settings",
		Long: `Check a file of settings, without the environment and without starting a node. All
problems are printed, one in a line; then the exit code is 1.`,
		Example: `  sharelock config check config.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			problems := each(second(config.Load(args[0], nil, nil)))
			for _, p := range problems {
				fmt.Fprintf(a.stderr, "sharelock: %s\n", text.OneLine(p))
			}
			if len(problems) > 0 {
				return &exit.Error{Code: exit.Failed}
			}
			_, err := fmt.Fprintf(a.stdout, "%s: ok\n", args[0])
			return err
		},
	}
}

// second returns the error of Load.
func second(_ config.Config, _ config.Origin, err error) error { return err }

// each returns the errors that were joined into one.
func each(err error) (list []error) {
	var joined interface{ Unwrap() []error }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &joined) && err.Error() == errors.Join(joined.Unwrap()...).Error():
		for _, e := range joined.Unwrap() {
			list = append(list, each(e)...)
		}
		return list
	}
	return []error{err}
}

func (a *app) configShowCommand() *cobra.Command {
	var (
		path   string
		origin bool
	)
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the settings that a node would use",
		Long: `Show the settings that serve would use with this file and this environment, as YAML
that serve accepts. The settings name files of secrets, and contain none.`,
		Example: `  sharelock config show --config config.yaml --origin`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, from, err := config.Load(path, a.environ, nil)
			if err != nil {
				return exit.Failure(err)
			}
			if !origin {
				from = nil
			}
			_, err = fmt.Fprint(a.stdout, c.YAML(from))
			return err
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "YAML file of settings")
	cmd.Flags().BoolVar(&origin, "origin", false, "add where each value is from: a file, a variable, or default")
	return cmd
}
