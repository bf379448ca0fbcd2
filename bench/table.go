package main

import (
	"fmt"
	"math"
	"os"
	"strings"
)

// This program writes the part of a document between these lines.
const (
	figuresStart = "<!-- figures: written by make bench-peers -->"
	figuresEnd   = "<!-- end of figures -->"
)

// writeFigures writes the tables into a document.
func writeFigures(path, figures string) error {
	before, after, err := around(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(before+figuresStart+"\n\n"+figures+"\n"+figuresEnd+after), 0o644)
}

// around returns the parts of a document before and after the figures.
func around(path string) (before, after string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	before, rest, found := strings.Cut(string(data), figuresStart+"\n")
	_, after, ended := strings.Cut(rest, figuresEnd)
	if !found || !ended {
		return "", "", fmt.Errorf("%s has no place for the figures, between %q and %q", path, figuresStart, figuresEnd)
	}
	return before, after, nil
}

// figures returns all tables in Markdown.
func (r *results) figures() string {
	var out strings.Builder
	m := r.Machine
	fmt.Fprintf(&out, "Measured on %d × %s with %g GB, Linux %s, %s, clients and servers on this one machine. ",
		m.Processors, m.CPU, m.MemoryGB, m.Kernel, m.Go)
	fmt.Fprintf(&out, "Medians of %d rounds, each load %s after %s of warm-up.\n\n%s.\n", r.Runs, r.Duration, r.Warmup, strings.Join(m.Versions, "; "))
	if len(r.Peers) > 0 {
		r.peers(&out)
	}
	if len(r.Floor) > 0 {
		r.floor(&out)
	}
	if len(r.Awake) > 0 || r.Asleep != "" {
		r.awake(&out)
	}
	if len(r.Wire) > 0 {
		r.wire(&out)
	}
	if len(r.Capacity) > 0 {
		r.capacities(&out)
	}
	return out.String()
}

func (r *results) peers(out *strings.Builder) {
	out.WriteString("\n### Against others\n\n![the most telling rows as bars](performance.svg)\n\n")
	compared(out, r.Peers, metrics())
	out.WriteString("\nWhat a lock that was granted is kept in:\n\n")
	for _, v := range peerVariants() {
		fmt.Fprintf(out, "* %s: %s.\n", v.name, v.about)
	}

	against := [][2]string{
		{sharelock(1).name, redisPipelined().name}, {sharelock(3).name, redisPipelined().name}, {sharelock(3).name, redlock(3).name}, {sharelock(3).name, etcd(3).name},
	}
	rows := [][]string{{"ShareLock's figure for 1 of the other's"}}
	for _, pair := range against {
		rows[0] = append(rows[0], pair[0]+" : "+pair[1])
	}
	for _, m := range metrics() {
		row := []string{m.name + map[bool]string{true: " (less is better)", false: " (more is better)"}[m.fewer]}
		for _, pair := range against {
			row = append(row, ratio(median(r.Peers, pair[0], m)/median(r.Peers, pair[1], m)))
		}
		rows = append(rows, row)
	}
	out.WriteString("\n")
	markdown(out, rows)
	out.WriteString(failures(r.Peers))
}

// compared writes a table of all variants.
func compared(out *strings.Builder, all []*measured, ms []metric) {
	names := variants(all)
	rows := [][]string{append([]string{""}, names...)}
	for _, m := range ms {
		row := []string{m.label()}
		for _, name := range names {
			row = append(row, m.format(median(all, name, m)))
		}
		rows = append(rows, row)
	}
	markdown(out, rows)
}

func (r *results) awake(out *strings.Builder) {
	out.WriteString("\n### On a machine that is kept awake\n\n")
	if r.Asleep != "" {
		fmt.Fprintf(out, "Not measured: %s.\n", r.Asleep)
		return
	}
	compared(out, r.Awake, metrics()[1:]) // in the first metric's load processors have no time to sleep
	out.WriteString(failures(r.Awake))
}

func (r *results) floor(out *strings.Builder) {
	out.WriteString("\n### Against processes that only pass bytes on\n\n")
	paired(out, r.Floor, floorMetrics(), [][2]string{{sharelock(1).name, floor(1).name}, {sharelock(3).name, floor(2).name}})
}

func (r *results) wire(out *strings.Builder) {
	out.WriteString("\n### Against an empty server\n\n")
	paired(out, r.Wire, wireMetrics(), [][2]string{{wireGRPC, wireEmptyGRPC}, {wireHTTP, wireEmptyHTTP}})
}

// paired writes a table of pairs of variants, and the ratio of each pair.
func paired(out *strings.Builder, all []*measured, ms []metric, pairs [][2]string) {
	rows := [][]string{{""}}
	for _, m := range ms {
		rows[0] = append(rows[0], m.label())
	}
	add := func(name string, cell func(m metric) string) {
		row := []string{name}
		for _, m := range ms {
			row = append(row, cell(m))
		}
		rows = append(rows, row)
	}
	for _, pair := range pairs {
		for _, name := range pair {
			add(name, func(m metric) string { return m.format(median(all, name, m)) })
		}
		add("ratio", func(m metric) string { return ratio(median(all, pair[0], m) / median(all, pair[1], m)) })
	}
	markdown(out, rows)
	out.WriteString(failures(all))
}

func (r *results) capacities(out *strings.Builder) {
	rows := [][]string{{""}}
	for _, c := range r.Capacity {
		rows[0] = append(rows[0], sharelock(c.Nodes).name)
	}
	add := func(name string, cell func(c *capacity) string) {
		row := []string{name}
		for _, c := range r.Capacity {
			row = append(row, cell(c))
		}
		rows = append(rows, row)
	}
	some := func(n int, format string, args ...any) string {
		if n == 0 {
			return "–"
		}
		return fmt.Sprintf(format, args...)
	}
	first := r.Capacity[0]
	add(fmt.Sprintf("memory for each lock and copy, %s held", thousands(first.Held)), func(c *capacity) string {
		return fmt.Sprintf("%.0f bytes", c.BytesPerCopy)
	})
	add(fmt.Sprintf("keeping %s locks alive, by %d clients", thousands(first.Held), holders), func(c *capacity) string {
		return fmt.Sprintf("%.1f %% of a processor, %d lost", c.KeepAlive, c.Lost)
	})
	add(fmt.Sprintf("memory of an idle session, %s of them", thousands(first.Sessions)), func(c *capacity) string {
		return some(c.Sessions, "%.1f kB; %d of %s locks lost while they connected", c.BytesPerSession/1e3, c.LostMeanwhile, thousands(bystanders))
	})
	add("64 workers, a key each, when empty: pairs", func(c *capacity) string { return some(c.Seen, "%.0f /s", c.EmptyPairs) })
	add(fmt.Sprintf("the same with %s keys seen and %s held", thousands(first.Seen), thousands(first.Held)), func(c *capacity) string {
		return some(c.Seen, "%.0f /s (%s)", c.FullPairs, ratio(c.FullPairs/c.EmptyPairs))
	})
	out.WriteString("\n### Size\n\n")
	markdown(out, rows)
}

// variants returns the names of all variants in order.
func variants(all []*measured) []string {
	var names []string
	for _, m := range all {
		if len(names) == 0 || names[len(names)-1] != m.Variant {
			names = append(names, m.Variant)
		}
	}
	return names
}

// failures writes which calls failed.
func failures(all []*measured) string {
	var out strings.Builder
	for _, m := range all {
		var failed, pairs uint64
		for _, run := range m.Runs {
			failed += run.Failed()
			pairs += uint64(run.Pairs)
		}
		if failed > 0 {
			fmt.Fprintf(&out, "* %s, %s: %s calls failed beside %s pairs\n", m.Variant, m.Load, thousands(int(failed)), thousands(int(pairs)))
		}
	}
	if out.Len() == 0 {
		return "\nNo call failed.\n"
	}
	return "\n" + out.String()
}

func (m metric) label() string {
	switch m.unit {
	case "":
		return m.name
	case "/s":
		return m.name + " per second"
	}
	return m.name + ", " + m.unit
}

func (m metric) format(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case math.IsInf(v, 0):
		return "one got none"
	case m.digits == 0:
		return thousands(int(math.Round(v)))
	}
	return fmt.Sprintf("%.*f", m.digits, v)
}

func ratio(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf("%.2f", v)
}

// thousands formats a number in groups of three digits.
func thousands(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// markdown prints a table whose columns are also aligned in plain text; the first row is the
// header.
func markdown(out *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)), 3)
		}
	}
	for n, row := range rows {
		out.WriteString("|")
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i == 0 {
				fmt.Fprintf(out, " %s%s |", cell, pad)
			} else {
				fmt.Fprintf(out, " %s%s |", pad, cell)
			}
		}
		out.WriteString("\n")
		if n > 0 {
			continue
		}
		out.WriteString("|")
		for i, w := range widths {
			out.WriteString(map[bool]string{true: " " + strings.Repeat("-", w), false: " " + strings.Repeat("-", w-1) + ":"}[i == 0] + " |")
		}
		out.WriteString("\n")
	}
}
