// A table that renders only the visible rows, so a hundred thousand rows cost as much as forty.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";

const rowHeight = 40;
const margin = 8;

// VirtualTable shows rows: columns are {name, cell(row), class}; the first column is the row's header.
// id(row) identifies a row, so that the focus stays where it is. seen(rows) is called with the visible rows.
export function VirtualTable({ caption, columns, rows, id, seen, empty }) {
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
  const from = Math.max(0, Math.min(Math.floor(at.top / rowHeight), rows.length) - margin);
  const to = Math.min(rows.length, Math.ceil((at.top + at.height) / rowHeight) + margin);
  const shown = rows.slice(from, to);
  useEffect(() => { seen?.(shown); });
  const gap = (n) => n > 0 && html`<tr class="gap" aria-hidden="true"><td colspan=${columns.length} style=${{ height: n * rowHeight + "px" }}></td></tr>`;
  return html`<div class="tall" ref=${box} tabindex="0" role="region" aria-label=${caption}>
    <table aria-rowcount=${rows.length + 1}>
      <thead><tr aria-rowindex="1">${columns.map((c) => html`<th scope="col" class=${c.class ?? ""}>${c.name}</th>`)}</tr></thead>
      <tbody>
        ${gap(from)}
        ${shown.map((row, i) => html`<tr key=${id(row)} aria-rowindex=${from + i + 2}>
          ${columns.map((c, n) => n === 0
            ? html`<th scope="row" class=${c.class ?? ""}>${c.cell(row)}</th>`
            : html`<td class=${c.class ?? ""}>${c.cell(row)}</td>`)}
        </tr>`)}
        ${gap(rows.length - to)}
      </tbody>
    </table>
    ${rows.length === 0 && html`<div class="empty" style=${{ padding: "22px 16px" }}>${empty}</div>`}
  </div>`;
}
