// A table that renders only the visible rows, so a hundred thousand rows cost as much as forty.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";

const rowHeight = 40;
// More rows than are in sight are drawn, by steps, so that there are rows while one scrolls.
const step = 8;

// useRange returns the rows that a VirtualTable needs, and the function with which it asks for them.
export function useRange() {
  const [range, set] = useState({ from: 0, to: 5 * step });
  return [range, (from, to) => set((old) => (old.from === from && old.to === to ? old : { from, to }))];
}

// VirtualTable shows size rows. It is given those from index from, and calls want(from, to) for those
// that it needs. columns are {name, cell(row), class}; the first column is the row's header. id(row)
// identifies a row, so that the focus stays where it is. seen(rows) is called with the rows in sight.
export function VirtualTable({ caption, columns, size, from, rows, want, id, seen, empty }) {
  const box = useRef(null);
  const [at, set] = useState({ top: 0, height: 800 });
  useEffect(() => {
    const el = box.current;
    let frame = 0;
    const read = () => { frame = 0; set({ top: el.scrollTop, height: el.clientHeight }); };
    const later = () => { frame ||= requestAnimationFrame(read); };
    read();
    el.addEventListener("scroll", later, { passive: true });
    const resized = new ResizeObserver(later);
    resized.observe(el);
    return () => { el.removeEventListener("scroll", later); resized.disconnect(); cancelAnimationFrame(frame); };
  }, []);
  const first = Math.floor(at.top / rowHeight);
  const last = Math.ceil((at.top + at.height) / rowHeight);
  useEffect(() => want(Math.max(0, Math.floor(first / step) - 1) * step, (Math.ceil(last / step) + 1) * step), [first, last]);
  useEffect(() => { seen?.(rows.slice(Math.max(0, first - from), Math.max(0, last - from))); });
  const gap = (n) => n > 0 && html`<tr class="gap" aria-hidden="true"><td colspan=${columns.length} style=${{ height: n * rowHeight + "px" }}></td></tr>`;
  return html`<div class="tall" ref=${box} tabindex="0" role="region" aria-label=${caption}>
    <table aria-rowcount=${size + 1}>
      <thead><tr aria-rowindex="1">${columns.map((c) => html`<th scope="col" class=${c.class ?? ""}>${c.name}</th>`)}</tr></thead>
      <tbody>
        ${gap(from)}
        ${rows.map((row, i) => html`<tr key=${id(row)} aria-rowindex=${from + i + 2}>
          ${columns.map((c, n) => n === 0
            ? html`<th scope="row" class=${c.class ?? ""}>${c.cell(row)}</th>`
            : html`<td class=${c.class ?? ""}>${c.cell(row)}</td>`)}
        </tr>`)}
        ${gap(size - from - rows.length)}
      </tbody>
    </table>
    ${size === 0 && html`<div class="empty" style=${{ padding: "22px 16px" }}>${empty}</div>`}
  </div>`;
}
