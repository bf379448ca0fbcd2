package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/show"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

const watchUsage = "keep the output up to date until interrupted"

// watchFlag adds --watch to a command.
func watchFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().BoolP("watch", "w", false, watchUsage)
}

const (
	// liveSettle is how long changes are collected before the next output is shown.
	liveSettle = 100 * time.Millisecond
	// livePoll is the interval between two calls if no watch reports changes, and on a terminal, where
	// displayed durations change all the time.
	livePoll = time.Second
)

// live is the output of a call that is kept up to date. On a terminal each output replaces the one
// before, on the alternate screen. Otherwise outputs follow each other.
type live struct {
	*remote
	client *client.Client
	one    call
	screen bool
	// last is the output before, without durations; note is the newest line about the watch itself.
	last, note string
}

// keepCurrent returns a call that repeats one when a watch of the request reports a change or, without
// a request, every second.
func keepCurrent(one call, request *sharelock.WatchRequest) call {
	return func(ctx context.Context, r *remote, c *client.Client) error {
		f, ok := r.app.stdout.(*os.File)
		l := &live{remote: r, client: c, one: one, screen: ok && isTerminal(f) && r.output == "text"}
		if l.screen {
			r.app.printf("%s", screenBegin)
			defer r.app.printf("%s", screenEnd)
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		news := make(chan liveNews, 1)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if request != nil {
				l.follow(ctx, *request, news)
			}
		}()
		err := l.run(ctx, news, request == nil)
		cancel()
		<-ended
		if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return nil
		}
		return err
	}
}

// liveNews is what a watch has reported: a change, a line for people, or its end.
type liveNews struct {
	line string
	err  error
}

// follow sends news until ctx or the watch ends. A change that has not been received yet stands for the
// following ones, too.
func (l *live) follow(ctx context.Context, request sharelock.WatchRequest, news chan<- liveNews) {
	synced := false
	say := func(n liveNews) {
		select {
		case news <- n:
		case <-ctx.Done():
		}
	}
	err := l.followWatch(ctx, l.client, request, func(e *sharelock.Event) error {
		switch e.Type {
		case sharelock.Moved, sharelock.Reset:
			synced = false
			say(liveNews{line: show.Event(e)})
			return nil
		case sharelock.Ping:
			return nil
		case sharelock.Synced:
			synced = true
		}
		if synced {
			select {
			case news <- liveNews{}:
			default:
			}
		}
		return nil
	}, func(err error) { say(liveNews{line: noAnswer(err)}) })
	if err != nil {
		say(liveNews{err: err})
	}
}

// noAnswer says that no node answers.
func noAnswer(err error) string {
	return "sharelock: no node answers, trying again: " + text.Printable(err.Error())
}

// run shows outputs until ctx or the watch ends.
func (l *live) run(ctx context.Context, news <-chan liveNews, poll bool) error {
	if err := l.show(ctx, false); err != nil {
		return err
	}
	tick := time.NewTicker(livePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-news:
			if n.err != nil {
				return n.err
			}
			if n.line != "" {
				l.say(n.line)
				continue
			}
			select {
			case <-time.After(liveSettle):
			case <-ctx.Done():
			}
		case <-tick.C:
			if !poll && !l.screen {
				continue
			}
		}
		if err := l.show(ctx, true); err != nil {
			return err
		}
	}
}

// show makes the call and shows its output if it has changed. If the call finds no node, or a node that
// cannot serve, show does not return an error.
func (l *live) show(ctx context.Context, again bool) error {
	var out, warnings bytes.Buffer
	app, r := *l.app, *l.remote
	app.stdout, app.stderr, r.app = &out, &warnings, &app
	err := l.one(ctx, &r, l.client)
	var cannot *exit.Error
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // the user has ended it
	case errors.Is(err, sharelock.ErrNotHeld):
		if l.output == "json" {
			out.WriteString("{}")
		} else {
			out.WriteString("nobody holds the key or waits for it\n")
		}
	case errors.As(err, &cannot) && cannot.Err != nil:
		fmt.Fprintf(&warnings, "sharelock: %s\n", text.OneLine(cannot.Err))
	case again && errors.Is(err, client.ErrUnreachable):
		l.say(noAnswer(err))
		return nil //nolint:nilerr // it has been shown
	case err != nil:
		return err
	}
	if l.output == "json" {
		var line bytes.Buffer
		if err := json.Compact(&line, out.Bytes()); err != nil {
			return err
		}
		out = line
		out.WriteByte('\n')
	}
	l.put(out.String(), warnings.String())
	return nil
}

// lasted matches a duration in an output.
var lasted = regexp.MustCompile(`\b[0-9][0-9.]*(ns|µs|ms|s|m|h)\b`)

// put shows an output with its warnings.
func (l *live) put(picture, warnings string) {
	if l.screen {
		lines := picture + warnings
		if l.note != "" {
			lines += "\n" + l.note + "\n"
		}
		l.app.printf("%s%s%s", screenHome, strings.ReplaceAll(lines, "\n", lineRest+"\n"), screenRest)
		return
	}
	same := lasted.ReplaceAllString(picture+warnings, "")
	if same == l.last {
		return
	}
	l.note = ""
	if l.last != "" && l.output == "text" {
		l.app.printf("\n")
	}
	l.last = same
	l.app.printf("%s", picture)
	if l.output == "text" {
		l.app.printf("%s", warnings)
	} else {
		fmt.Fprint(l.app.stderr, warnings)
	}
}

// say shows a line about the watch itself, unless it is the line shown last.
func (l *live) say(line string) {
	if lasted.ReplaceAllString(line, "") == lasted.ReplaceAllString(l.note, "") {
		return
	}
	l.note = line
	switch {
	case l.screen: // shown with the next output, within a second
	case l.output == "json":
		fmt.Fprintln(l.app.stderr, line)
	default:
		l.app.printf("%s\n", line)
	}
}
