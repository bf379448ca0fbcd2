//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// What an operator sees of an incident, in the log, in /v1/mesh and in sharelock members, is what its page
// in docs/incidents says. Real processes produce it. With -update the pages are rewritten.
func TestProcessesIncidents(t *testing.T) {
	r := newRehearsal(t, 3, "")
	a, b := r.start(0), r.start(1)
	r.incident(a, "not-in-mesh", exit.Unreachable)
	r.incident(a, "seed-silent", exit.Unreachable)

	c := r.start(2)
	r.await("the seeds are one mesh", 30*time.Second, func() bool { return r.whole(a, b, c) })
	r.kill(c)
	r.incident(a, "voter-silent", exit.OK)
	r.kill(b)
	r.incident(a, "no-quorum", exit.Unreachable)

	r.kill(a)
	r.again(a, b, c)
	r.incident(a, "quarantine", exit.OK)
}

func TestProcessesIncidentOfADisk(t *testing.T) {
	r := newRehearsal(t, 3, "  lease: 1s\n")
	dir := r.smallDisk("b")
	r.form(3)
	fill(t, dir)
	r.incident(r.procs[1], "disk-failed", exit.OK)
}

// incident waits until a process is in a condition, and compares its output with the page of the condition.
func (r *rehearsal) incident(p *proc, code string, exit int) {
	r.t.Helper()
	page, want := r.page(code)
	// The nodes of the pages are a, b and c at 10.0.0.1 to 10.0.0.3; times and numbers of partitions
	// are examples.
	var got string
	defer func() {
		if r.t.Failed() {
			r.t.Logf("%s says %q", p.name, got)
		}
	}()
	r.await(code+" at "+p.name, 30*time.Second, func() bool {
		for _, sentence := range p.sentences(r.t, code) {
			got = r.normal(sentence)
			if got == r.normal(want) {
				return true
			}
		}
		return *update && got != ""
	})
	if got != r.normal(want) {
		r.rewrite(code, page, got)
	}
	// The sentence in the log was written earlier, and may name no duration.
	what, detail, _ := strings.Cut(got, ": ")
	what, _, _ = strings.Cut(what, " for T")
	r.await(code+" in the log of "+p.name, 30*time.Second, func() bool {
		for line := range strings.Lines(p.log.String()) {
			line = r.normal(line)
			if strings.Contains(line, what) && strings.Contains(line, detail) {
				return true
			}
		}
		return false
	})
	r.await(code+" in sharelock members", 30*time.Second, func() bool {
		cli := newApp()
		ended := cli.run(context.Background(), []string{"members", "--server", p.host + ":50052"})
		text := r.normal(cli.out.String())
		return ended == exit && strings.Contains(text, what) && strings.Contains(text, detail)
	})
}

// sentences returns what a process says about a condition.
func (p *proc) sentences(t *testing.T, code string) (list []string) {
	t.Helper()
	resp, err := http.Get("http://" + p.host + ":50051/v1/mesh") //nolint:noctx // bounded by the caller's patience
	if err != nil {
		return nil
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	var m struct {
		Conditions []struct{ Code, Message string }
	}
	if json.NewDecoder(resp.Body).Decode(&m) != nil {
		return nil
	}
	for _, c := range m.Conditions {
		if c.Code == code {
			list = append(list, c.Message)
		}
	}
	return list
}

var (
	someTime       = regexp.MustCompile(`\b[0-9.]+(ms|s|m[0-9]+s)\b`)
	somePartitions = regexp.MustCompile(`\b[0-9]+ of the [0-9]+ partitions\b`)
	firstBlock     = regexp.MustCompile("(?s)```\n(.*?)\n```")
)

// normal returns a text with the addresses of the pages, and without times and numbers of partitions.
func (r *rehearsal) normal(text string) string {
	text = strings.ReplaceAll(text, r.net+".", "10.0.0.")
	for _, p := range r.procs {
		text = strings.ReplaceAll(text, filepath.Join(r.dir, p.name), "/var/lib/sharelock")
	}
	text = someTime.ReplaceAllString(text, "T")
	return somePartitions.ReplaceAllString(text, "N of the N partitions")
}

// page returns the page of a condition, and the sentence in it.
func (r *rehearsal) page(code string) (page, sentence string) {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "incidents", code+".md"))
	if err != nil {
		r.t.Fatal(err)
	}
	block := firstBlock.FindStringSubmatch(string(data))
	if block == nil {
		r.t.Fatalf("docs/incidents/%s.md does not say what one sees", code)
	}
	return string(data), strings.Join(strings.Fields(block[1]), " ")
}

// rewrite puts a sentence into the page of a condition, in lines as long as the others.
func (r *rehearsal) rewrite(code, page, sentence string) {
	r.t.Helper()
	sentence = strings.ReplaceAll(strings.ReplaceAll(sentence, "N of the N", "341 of the 341"), "T", "12s")
	var lines []string
	for word := range strings.FieldsSeq(sentence) {
		if n := len(lines) - 1; n >= 0 && len(lines[n])+1+len(word) <= 110 {
			lines[n] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	page = firstBlock.ReplaceAllLiteralString(page, fmt.Sprintf("```\n%s\n```", strings.Join(lines, "\n")))
	if err := os.WriteFile(filepath.Join("..", "..", "docs", "incidents", code+".md"), []byte(page), 0o644); err != nil {
		r.t.Fatal(err)
	}
}
