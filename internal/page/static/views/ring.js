// The ring as a picture, and as a list with the same facts.
import { html, useMemo } from "../vendor/preact.js";
import { count } from "../lib/format.js";

// letters are the first letters of the members' names, or more where two begin alike.
export const letterOf = (name) => name.slice(0, 2);
export const Letter = ({ i, name }) => html`<span class=${`swatch m${i % 8}`} aria-hidden="true">${letterOf(name)}</span>`;

// Ring draws one arc for each run of partitions with the same owner. It is made again only when the
// ring or the members have changed.
export function Ring({ ring, mesh }) {
  const names = (mesh?.members ?? []).map((m) => m.name);
  return useMemo(() => picture(ring, names), [ring, names.join("\n")]);
}

function picture(ring, names) {
  if (!ring?.owners?.length || !names.length) return html`<p class="empty">The ring is known once this node is a member of a view.</p>`;
  const total = ring.partitions;
  const owned = ring.members.map(() => 0);
  for (const o of ring.owners) owned[o]++;
  // arcs has one path for each owner.
  const arcs = ring.members.map(() => "");
  for (let from = 0; from < total;) {
    let to = from + 1;
    while (to < total && ring.owners[to] === ring.owners[from]) to++;
    arcs[ring.owners[from]] += arc(from / total, to / total);
    from = to;
  }
  const color = (m) => Math.max(0, names.indexOf(m.name));
  const facts = ring.members.map((m, i) => `${m.name} owns ${owned[i]}`).join(", ");
  return html`<div class="ring">
    <svg viewBox="-60 -60 120 120" role="img" aria-label=${`${total} partitions: ${facts}`}>
      ${ring.members.map((m, i) => html`<path class=${`m${color(m) % 8}`} d=${arcs[i]} />`)}
      <text y="1">${count(total)}</text><text class="soft" y="14">partitions</text>
    </svg>
    <table><caption>Partitions of each owner</caption>
      <thead><tr><th scope="col">Owner</th><th scope="col" class="num">Partitions</th><th scope="col" class="num">Share</th></tr></thead>
      <tbody>${ring.members.map((m, i) => html`<tr key=${m.name}><th scope="row"><${Letter} i=${color(m)} name=${m.name} />${m.name}</th>
        <td class="num">${count(owned[i])}</td><td class="num">${(100 * owned[i] / total).toFixed(1)} %</td></tr>`)}</tbody></table>
  </div>`;
}

// arc returns the path of a piece of the ring; from and to are in turns.
function arc(from, to) {
  const at = (turn, r) => { const a = 2 * Math.PI * turn - Math.PI / 2; return `${(r * Math.cos(a)).toFixed(3)} ${(r * Math.sin(a)).toFixed(3)}`; };
  if (to - from >= 1) to = from + 0.99999;
  const large = to - from > 0.5 ? 1 : 0;
  return `M${at(from, 56)}A56 56 0 ${large} 1 ${at(to, 56)}L${at(to, 34)}A34 34 0 ${large} 0 ${at(from, 34)}Z`;
}
