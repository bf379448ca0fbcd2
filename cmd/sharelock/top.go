package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/show"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// top holds the settings of one run of the command.
type top struct {
	*remote
	client   *client.Client
	interval time.Duration
	keys     uint32
	frames   int
	// last is the previous frame, and lastAt its time, which is zero before the second.
	last   []sharelock.Activity
	lastAt time.Time
}

func (a *app) topCommand() *cobra.Command {
	t := &top{}
	cmd := &cobra.Command{
		Use:     "top",
		GroupID: groupMesh,
		Short:   "Show what the mesh does now: members, and the keys that are waited for",
		Long: `Show what the mesh does now: what is wrong, the holds, waiters and grants of each member,
and the keys whose first waiter has waited longest, with their holders.

On a terminal the picture is renewed until the command is interrupted. Otherwise it is printed
once, or --frames times. With -o json each picture is one line, the message of the API.`,
		Example: `  sharelock top
  sharelock top --frames 1 -o json`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().DurationVar(&t.interval, "interval", 2*time.Second, "time between two pictures")
	cmd.Flags().Uint32Var(&t.keys, "keys", 10, "the most keys to show, up to 100")
	cmd.Flags().IntVar(&t.frames, "frames", 0, "how many pictures; 0: one, on a terminal until interrupted")
	return a.remoteCommand(cmd, func([]string) (call, error) {
		switch {
		case t.interval < 100*time.Millisecond:
			return nil, exit.Usagef("--interval: want at least 100ms, got %v", t.interval)
		case t.keys > 100:
			return nil, exit.Usagef("--keys: want at most 100, got %d", t.keys)
		case t.frames < 0:
			return nil, exit.Usagef("--frames: want 0 or more, got %d", t.frames)
		}
		return func(ctx context.Context, r *remote, c *client.Client) error {
			t.remote, t.client = r, c
			return t.run(ctx)
		}, nil
	})
}

// run prints frames. On a terminal each replaces the one before, on the alternate screen.
func (t *top) run(ctx context.Context) error {
	f, ok := t.app.stdout.(*os.File)
	screen := ok && isTerminal(f) && t.output == "text"
	if t.frames == 0 && !screen {
		t.frames = 1
	}
	if screen {
		t.app.printf("%s", screenBegin)
		defer t.app.printf("%s", screenEnd)
	}
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	for n := 1; ; n++ {
		if err := t.frame(ctx, screen); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if n == t.frames {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// The escape sequences that begin and end the alternate screen, without a cursor and without line wrap,
// and that draw a frame over the one before.
const (
	screenBegin = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	screenEnd   = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	lineRest    = "\x1b[K"
	screenRest  = "\x1b[J"
)

// frame reads the mesh once and prints it.
func (t *top) frame(ctx context.Context, screen bool) error {
	resp := &sharelockv1.GetActivityResponse{}
	if err := t.invoke(ctx, sharelockv1.MeshService_GetActivity_FullMethodName, &sharelockv1.GetActivityRequest{Contended: t.keys}, resp); err != nil {
		return err
	}
	if t.output == "json" {
		b, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(resp)
		if err != nil {
			return err
		}
		t.app.printf("%s\n", compactJSON(b))
		return nil
	}
	mesh, err := t.client.Mesh(ctx)
	if err != nil {
		return err
	}
	var list []sharelock.Activity
	for _, m := range resp.GetMembers() {
		list = append(list, sharelockv1.ActivityFromProto(m))
	}
	var text strings.Builder
	if err := t.draw(ctx, &text, mesh, list); err != nil {
		return err
	}
	t.last, t.lastAt = list, time.Now()
	if !screen {
		t.app.printf("%s", text.String())
		return nil
	}
	t.app.printf("%s%s%s", screenHome, strings.ReplaceAll(text.String(), "\n", lineRest+"\n"), screenRest)
	return nil
}

// draw writes one frame.
func (t *top) draw(ctx context.Context, w io.Writer, mesh sharelock.MeshState, list []sharelock.Activity) error {
	fmt.Fprintf(w, "cluster %s, asked at %s: epoch %d, leader %s\n", text.OrNone(mesh.Cluster), text.OrNone(mesh.Node), mesh.Epoch, text.OrNone(mesh.Leader))
	for _, c := range mesh.Conditions {
		if err := show.Condition(w, c); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	rows := [][]string{{"MEMBER", "HOLDS", "WAITERS", "LONGEST WAIT", "GRANTS/S", "ENDS/S", "QUARANTINED", "COPIES MISSING"}}
	for _, a := range list {
		if a.Err != "" {
			rows = append(rows, []string{text.OrNone(a.Name), "no answer: " + text.Printable(a.Err)})
			continue
		}
		grants, ends := t.rates(a)
		rows = append(rows, []string{
			text.OrNone(a.Name), strconv.Itoa(a.Holds), strconv.Itoa(a.Waiters), waited(a.LongestWait), grants, ends,
			strconv.Itoa(a.Quarantined), strconv.Itoa(a.CopiesMissing),
		})
	}
	if err := text.Table(w, rows); err != nil {
		return err
	}
	return t.drawKeys(ctx, w, list)
}

// drawKeys writes the keys with the longest waits, with their holders.
func (t *top) drawKeys(ctx context.Context, w io.Writer, list []sharelock.Activity) error {
	rows := [][]string{{"KEY", "WAITERS", "LONGEST WAIT", "HOLDERS", "FIRST HOLDER", "OWNER"}}
	for _, c := range longestWaits(list) {
		holder := ""
		state, err := t.client.Get(ctx, c.Key)
		switch {
		case err == nil && len(state.Holds) > 0:
			holder = state.Holds[0].ClientID
		case err != nil && !errors.Is(err, sharelock.ErrNotHeld):
			return err
		}
		rows = append(rows, []string{
			text.OrNone(c.Key), strconv.Itoa(c.Waiters), waited(c.LongestWait), strconv.Itoa(c.Holds), text.OrNone(holder), text.OrNone(c.owner),
		})
	}
	fmt.Fprintln(w)
	if len(rows) == 1 {
		fmt.Fprintln(w, "nobody waits for a key")
		return nil
	}
	return text.Table(w, rows)
}
