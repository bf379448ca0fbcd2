package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/workload"
)

// benchJSON is the JSON output of bench.
type benchJSON struct {
	Servers    string        `json:"servers"`
	Route      string        `json:"route"`
	Workers    int           `json:"workers"`
	Clients    int           `json:"clients"`
	Keys       int           `json:"keys"`
	Contention float64       `json:"contention"`
	Mode       string        `json:"mode"`
	Hold       time.Duration `json:"holdNs"`
	Rate       float64       `json:"rate"`
	Warmup     time.Duration `json:"warmupNs"`
	Duration   time.Duration `json:"durationNs"`
	*workload.Result
}

func (b *bench) report(res *workload.Result) error {
	if b.output == "json" {
		enc := json.NewEncoder(b.app.stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(benchJSON{
			Servers: b.servers, Route: b.route, Workers: b.load.Workers, Clients: b.clients, Keys: b.load.Keys,
			Contention: b.load.Contention, Mode: b.mode, Hold: b.load.Hold, Rate: b.load.Rate,
			Warmup: b.load.Warmup, Duration: b.load.Duration, Result: res,
		})
	}
	_, err := fmt.Fprint(b.app.stdout, b.text(res))
	return err
}

// text returns the report as text.
func (b *bench) text(res *workload.Result) string {
	var out strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&out, "%-11s "+format+"\n", append([]any{name}, args...)...)
	}
	line("mesh", "%s, %s", text.Printable(b.servers), map[string]string{
		routeOwner: "calls go to the key's owner", routeAny: "calls go to any node",
	}[b.route])
	line("load", "%s", b.describe())
	line("measured", "%s after %s of warm-up", text.Short(res.Measured), text.Short(b.load.Warmup))
	out.WriteString("\n")
	line("throughput", "%s pairs/s (%s pairs)", thousands(res.PairsPerSecond), thousands(float64(res.Pairs)))
	f := res.Fairness
	ratio := "one got none"
	if f.Laziest > 0 {
		ratio = fmt.Sprintf("%.2f to 1", f.Ratio())
	}
	line("fairness", "%s (pairs of the busiest worker, %s, and of the laziest, %s); Jain's index %.3f",
		ratio, thousands(float64(f.Busiest)), thousands(float64(f.Laziest)), f.Jain)
	if res.Unsent > 0 {
		line("behind", "%s acquires were due but not sent before the end; they count with the time that they have waited",
			thousands(float64(res.Unsent)))
	}
	if res.Failed() == 0 {
		line("errors", "none")
	}
	label := "errors"
	for _, kind := range slices.SortedFunc(maps.Keys(res.Errors), func(a, b string) int {
		return cmp.Or(cmp.Compare(res.Errors[b], res.Errors[a]), cmp.Compare(a, b))
	}) {
		line(label, "%s: %s", thousands(float64(res.Errors[kind])), text.Printable(kind))
		label = ""
	}
	fmt.Fprintf(&out, "\n%-11s%s\n", "ms", columns([]string{"p50", "p90", "p99", "p99.9", "max", "mean"}))
	for _, row := range []struct {
		name string
		l    *workload.Latency
	}{{"acquire", &res.Acquire}, {"  from send", res.Sent}, {"release", &res.Release}, {"hand-over", res.HandOver}} {
		if row.l == nil {
			continue
		}
		cells := []string{"-", "-", "-", "-", "-", "-"}
		if row.l.Count > 0 {
			for i, d := range []time.Duration{row.l.P50, row.l.P90, row.l.P99, row.l.P999, row.l.Max, row.l.Mean} {
				cells[i] = millis(d)
			}
		}
		fmt.Fprintf(&out, "%-11s%s\n", row.name, columns(cells))
	}
	return out.String()
}

// describe returns a one-line description of the load.
func (b *bench) describe() string {
	o := b.load
	parts := []string{plural(o.Workers, "worker")}
	if b.clients > 1 {
		parts = append(parts, plural(b.clients, "client"))
	}
	if o.Keys == 0 {
		parts = append(parts, "a key for each worker")
	} else {
		parts = append(parts, plural(o.Keys, "key"))
	}
	if o.Contention > 0 {
		parts = append(parts, fmt.Sprintf("%g %% for one more", 100*o.Contention))
	}
	parts = append(parts, b.mode, "held for "+o.Hold.String())
	if o.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%s due in a second", thousands(o.Rate)))
	} else {
		parts = append(parts, "as fast as they can")
	}
	return strings.Join(parts, ", ")
}

func progressLine(p workload.Progress) string {
	phase := "measuring"
	if p.Warmup {
		phase = "warming up"
	}
	s := fmt.Sprintf("%s %s/%s  %s pairs/s", phase, p.Elapsed.Truncate(time.Second), p.Total, thousands(p.PairsPerSecond))
	if !p.Warmup {
		s += fmt.Sprintf("  acquire p50 %s ms, p99 %s ms", millis(p.P50), millis(p.P99))
	}
	if p.Errors > 0 {
		s += fmt.Sprintf("  %s", plural(intconv.Int(p.Errors), "error"))
	}
	return s
}

func columns(cells []string) string {
	var s strings.Builder
	for _, c := range cells {
		fmt.Fprintf(&s, "%12s", c)
	}
	return s.String()
}

// millis formats a duration in milliseconds, to the microsecond.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.3f", float64(d)/float64(time.Millisecond))
}

// thousands formats a number in groups of three digits. Below 100 it has a decimal, unless
// that is zero.
func thousands(x float64) string {
	digits := fmt.Sprintf("%.0f", x)
	if x < 100 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", x), ".0")
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return thousands(float64(n)) + " " + noun
}
