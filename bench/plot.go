package main

import (
	"fmt"
	"html"
	"math"
	"os"
	"strings"
)

// The measures of the plot, in pixels.
const (
	plotWidth  = 960
	panelWidth = plotWidth / 2
	barHeight  = 18
	barGap     = 6
	nameWidth  = 150
	valueWidth = 90
	titleSpace = 44
	panelGap   = 24
)

// plot returns the figures of the systems as an image, with one panel of bars for each of the most
// important metrics, two in a row.
func (r *results) plot() string {
	names := variants(r.Peers)
	all := metrics()
	panels := []metric{all[0], all[1], all[4], all[6]}
	panelHeight := titleSpace + len(names)*(barHeight+barGap) + panelGap
	height := (len(panels) + 1) / 2 * panelHeight
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12" fill="#222">`+"\n",
		plotWidth, height, plotWidth, height)
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, height)
	for i, m := range panels {
		x, y := i%2*panelWidth, i/2*panelHeight
		fmt.Fprintf(&out, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", x+12, y+20, html.EscapeString(m.label()))
		better := "longer bars are better"
		if m.fewer {
			better = "shorter bars are better"
		}
		fmt.Fprintf(&out, `<text x="%d" y="%d" fill="#777" font-size="11">%s</text>`+"\n", x+12, y+36, better)
		values, top := make([]float64, len(names)), 0.0
		for j, name := range names {
			values[j] = median(r.Peers, name, m)
			if !math.IsInf(values[j], 0) && values[j] > top {
				top = values[j]
			}
		}
		for j, name := range names {
			bar(&out, x, y+titleSpace+j*(barHeight+barGap), name, values[j], top, m)
		}
	}
	out.WriteString("</svg>\n")
	return out.String()
}

// bar draws one bar with its name and value; top is the value of the longest bar.
func bar(out *strings.Builder, x, y int, name string, value, top float64, m metric) {
	middle := y + barHeight - 5
	fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", x+nameWidth-6, middle, html.EscapeString(name))
	length := 0.0
	if value > 0 && top > 0 && !math.IsInf(value, 0) {
		length = max(value/top*(panelWidth-nameWidth-valueWidth), 1)
	}
	colour := "#9aa5b1"
	if strings.HasPrefix(name, "ShareLock") {
		colour = "#2b7bba"
	}
	fmt.Fprintf(out, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", x+nameWidth, y, length, barHeight, colour)
	fmt.Fprintf(out, `<text x="%.1f" y="%d">%s</text>`+"\n", float64(x+nameWidth)+length+6, middle, m.format(value))
}

func (r *results) savePlot(path string) error {
	return os.WriteFile(path, []byte(r.plot()), 0o644)
}
