// A small live plot. Its label also contains the values, for screen readers.
import { html, useEffect, useRef } from "../vendor/preact.js";
import uPlot from "../vendor/uplot.js";
import { rate, time } from "./format.js";

const seconds = 180;
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Plot draws series, each [name, values, number of the colour], over at, in Unix seconds.
export function Plot({ label, series, at }) {
  const box = useRef(null);
  const plot = useRef(null);
  useEffect(() => {
    const make = () => {
      plot.current?.destroy();
      const line = color("--line");
      const axis = { stroke: color("--soft"), grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
      plot.current = new uPlot({
        width: box.current.clientWidth, height: 170, cursor: { show: false }, legend: { show: false },
        scales: { x: { range: (_, __, max) => { const end = max ?? Date.now() / 1000; return [end - seconds, end]; } }, y: { range: (_, __, max) => [0, Math.max(1, (max ?? 0) * 1.15)] } },
        axes: [{ ...axis, values: (_, list) => list.map((t) => time(t * 1000)), space: 90 }, { ...axis, size: 58 }],
        series: [{}, ...series.map(([name, , n]) => ({ label: name, stroke: color(`--series-${n}`), width: 2, dash: n === 2 ? [5, 4] : undefined, points: { show: false } }))],
      }, [at, ...series.map(([, values]) => values)], box.current);
    };
    make();
    const sized = new ResizeObserver(() => plot.current.setSize({ width: box.current.clientWidth, height: 170 }));
    sized.observe(box.current);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", make);
    return () => { sized.disconnect(); scheme.removeEventListener("change", make); plot.current.destroy(); };
  }, []);
  useEffect(() => { plot.current.setData([at, ...series.map(([, values]) => values)]); }, [at]);
  const newest = series.map(([name, values]) => `${name}: ${values.length ? rate(values.at(-1)) : "–"}`).join(", ");
  return html`<figure style=${{ margin: "16px 0 0" }}><figcaption class="quiet">${label}: ${series.map(([name], i) => `${i ? ", " : ""}${name.toLowerCase()} ${i ? "dashed" : "solid"}`)}</figcaption>
    <div class="plot" ref=${box} role="img" aria-label=${`${label}. ${newest}`}></div></figure>`;
}
