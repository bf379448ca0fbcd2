package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// adminCommand is nodeCommand, for calls for which the client has no methods.
func (a *app) adminCommand(cmd *cobra.Command, prepare func(args []string) (adminCall, error)) *cobra.Command {
	return a.nodeCommand(cmd, func(args []string) (call, error) {
		do, err := prepare(args)
		return func(ctx context.Context, r *remote, _ *client.Client) error {
			return sharelockv1.FromError(do(ctx, r, r.mesh))
		}, err
	})
}

// adminCall is the work of a command that administers one node.
type adminCall func(ctx context.Context, r *remote, m sharelockv1.MeshServiceClient) error

func (a *app) logLevelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "log-level [LEVEL]",
		GroupID: groupNode,
		Short:   "Show or change the level of a node's log while it runs",
		Long: `Show the level of the log of the node that --server names, or change it until the node
restarts: debug, info, warn or error. For administrators. SIGUSR1 does the same at the
node's machine: it switches between debug and the configured level.`,
		Example: `  sharelock log-level debug --server 10.0.0.2:50052`,
		Args:    cobra.MaximumNArgs(1),
	}
	return a.adminCommand(cmd, func(args []string) (adminCall, error) {
		if len(args) == 1 && !slices.Contains([]string{"debug", "info", "warn", "error"}, args[0]) {
			return nil, exit.Usagef("want debug, info, warn or error, got %q", args[0])
		}
		return func(ctx context.Context, r *remote, m sharelockv1.MeshServiceClient) error {
			var level *sharelockv1.LogLevel
			var err error
			if len(args) == 1 {
				level, err = m.SetLogLevel(ctx, &sharelockv1.SetLogLevelRequest{Level: args[0]})
			} else {
				level, err = m.GetLogLevel(ctx, &sharelockv1.GetLogLevelRequest{})
			}
			if err != nil {
				return err
			}
			return r.print(level, func() error {
				_, err := fmt.Fprintln(a.stdout, text.Printable(level.GetLevel()))
				return err
			})
		}, nil
	})
}

func (a *app) debugCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:     "debug",
		GroupID: groupNode,
		Short:   "Write what helps to find a fault in a node into one archive",
		Long: `Write what helps to find a fault in the node that --server names into one archive
(tar, compressed): the mesh as the node sees it, the ring, goroutines, memory, the last
lines of the log, and the settings. It contains no secrets, but keys and client ids may
be in the log. For administrators.`,
		Example: `  sharelock debug --archive node-b.tar.gz --server 10.0.0.2:50052`,
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&path, "archive", "sharelock-debug.tar.gz", "the file to write, which must not exist")
	return a.adminCommand(cmd, func([]string) (adminCall, error) {
		return func(ctx context.Context, _ *remote, m sharelockv1.MeshServiceClient) (err error) {
			stream, err := m.GetDebug(ctx, &sharelockv1.GetDebugRequest{})
			if err != nil {
				return err
			}
			first, err := stream.Recv() // before the file is created: the call may be refused
			if err != nil {
				return err
			}
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return exit.Failure(err)
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			names, err := archive(f, first, stream.Recv)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s: %d files\n", path, names)
			return err
		}, nil
	})
}

// maxDebugFile bounds one file of an archive.
const maxDebugFile = 256 << 20

// archive writes the files of pieces into a compressed archive, and returns their number.
func archive(w io.Writer, piece *sharelockv1.DebugPiece, next func() (*sharelockv1.DebugPiece, error)) (files int, err error) {
	zip := gzip.NewWriter(w)
	out := tar.NewWriter(zip)
	now := time.Now()
	for piece != nil {
		name, data := piece.GetFile(), piece.GetData()
		for {
			piece, err = next()
			if err != nil || piece.GetFile() != name {
				break
			}
			if data = append(data, piece.GetData()...); len(data) > maxDebugFile {
				return files, exit.Failure(fmt.Errorf("%s has more than %d bytes", text.Printable(name), maxDebugFile))
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return files, err
		}
		files++
		header := &tar.Header{Name: fmt.Sprintf("sharelock-debug/%s", text.Printable(name)), Mode: 0o600, Size: int64(len(data)), ModTime: now}
		if err := out.WriteHeader(header); err != nil {
			return files, exit.Failure(err)
		}
		if _, err := out.Write(data); err != nil {
			return files, exit.Failure(err)
		}
	}
	return files, errors.Join(out.Close(), zip.Close())
}
