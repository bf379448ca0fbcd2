// One key: who holds it, who is next, what happened before, and taking it by force.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { call, historyPath, keyPath, url } from "../lib/api.js";
import { age, count, millis, plural, time } from "../lib/format.js";
import { useFeed, usePoll, useTick } from "../lib/live.js";
import { useRange, VirtualTable } from "../lib/table.js";

export function Key({ name }) {
  const [own, setOwn] = useState(0);
  const feed = useFeed("changes", { key: name }, {}) ?? { state: "connecting", count: 0 };
  const changes = own + feed.count;
  const lock = usePoll(keyPath(name), 2000, changes);
  const past = usePoll(historyPath(name) + "?limit=50", 10000, changes);
  const place = usePoll("/v1/mesh/locate/" + encodeURIComponent(name), 5000);
  useTick(500);
  const free = lock.error?.reason === "NOT_HELD";
  const l = lock.data?.lock;
  return html`
    <section class="card">
      <header><h1>${name}</h1>
        <span class="quiet">${place.data ? `partition ${place.data.partition}, owner ${place.data.owner}` + (place.data.backups?.length ? `, ${plural(place.data.backups.length, "backup")}: ${place.data.backups.join(", ")}` : ", no backup") : ""}${feed.state !== "live" ? " · reconnecting" : ""}</span>
        <a class="source" href=${url(keyPath(name))}>API</a></header>
      ${lock.error && !free && html`<p class="error" role="alert">${lock.error.message}</p>`}
      ${l?.quarantine && html`<p class="error">In quarantine for ${age(millis(l.quarantine) - (performance.now() - lock.at))} more: every copy of its partition was lost.</p>`}
      ${free && html`<p class="empty">Nobody holds this key, and nobody waits for it.</p>`}
      ${l && html`<${Holders} name=${name} lock=${l} at=${lock.at} changed=${() => setOwn((n) => n + 1)} />`}
    </section>
    <div class="grid">
      <section class="card half">
        <header><h2>Queue</h2><span class="quiet">${l ? plural(l.waiterCount ?? 0, "waiter") : ""}</span></header>
        ${l?.waiters?.length
          ? html`<ol class="queue">${l.waiters.slice(0, 200).map((w) => html`<li key=${w.clientId + w.requestId}>
              <span class="key">${w.principal ? `${w.principal} · ` : ""}${w.clientId}${w.mode === "SHARED" ? html` <span class="tag">shared</span>` : ""}</span>
              <span class="quiet num">${age(millis(w.waiting) + performance.now() - lock.at)}</span></li>`)}</ol>
            ${l.waiterCount > 200 && html`<p class="quiet">and ${count(l.waiterCount - 200)} more</p>`}`
          : html`<p class="empty">Nobody waits.</p>`}
      </section>
      <section class="card half">
        <header><h2>History</h2>
          <span class="quiet">${past.data && past.data.complete === false ? "there may be gaps" : ""}</span>
          <a class="source" href=${url(historyPath(name))}>API</a></header>
        <${History} past=${past} />
      </section>
    </div>`;
}

// few is how many holders are shown in full. More are shown in a table that draws those in sight.
const few = 50;

function Holders({ name, lock, at, changed }) {
  const [taking, take] = useState(null);
  const [range, want] = useRange();
  if (!lock.holds?.length) return html`<p class="empty">Nobody holds this key now.</p>`;
  const columns = [
    { name: "Client", class: "key", cell: (h) => `${h.principal ? `${h.principal} · ` : ""}${h.clientId}` },
    { name: "Mode", cell: (h) => (h.mode ?? "EXCLUSIVE").toLowerCase() },
    { name: "Token", cell: (h) => h.token },
    { name: "TTL left", cell: (h) => html`${age(millis(h.expiresIn) - (performance.now() - at))} <span class="quiet">of ${age(millis(h.ttl))}</span>` },
    { name: "Metadata", class: "key", cell: (h) => Object.entries(h.metadata ?? {}).map(([k, v]) => `${k}=${v}`).join(", ") || html`<span class="quiet">–</span>` },
    { name: html`<span class="unseen">Action</span>`, class: "num", cell: (h) => html`<button class="danger" onClick=${() => take(h)}>Release by force …</button>` },
  ];
  const { holds } = lock;
  const total = lock.holdCount ?? holds.length;
  const caption = `${plural(total, "holder")}${holds[0].slots > 1 ? ` of ${holds[0].slots} slots` : ""}${holds.length < total ? `, the first ${count(holds.length)} of them` : ""}`;
  return html`${holds.length > few
    ? html`<p class="quiet">${caption}</p><${VirtualTable} caption="Holders" columns=${columns} size=${holds.length} from=${Math.min(range.from, holds.length)} rows=${holds.slice(range.from, range.to)} want=${want} id=${(h) => h.token} />`
    : html`<div class="scroll" tabindex="0" role="group" aria-label="Holders"><table>
      <caption>${caption}</caption>
      <thead><tr>${columns.map((c) => html`<th scope="col">${c.name}</th>`)}</tr></thead>
      <tbody>${holds.map((h) => html`<tr key=${h.token}>${columns.map((c, n) => n === 0
        ? html`<th scope="row" class=${c.class}>${c.cell(h)}</th>` : html`<td class=${c.class}>${c.cell(h)}</td>`)}</tr>`)}</tbody></table></div>`}
    ${taking && html`<${Force} name=${name} hold=${taking} close=${() => take(null)} changed=${changed} />`}`;
}

// Force asks for a reason and takes a hold away from its holder.
function Force({ name, hold, close, changed }) {
  const box = useRef(null);
  const [reason, setReason] = useState("");
  const [error, setError] = useState("");
  useEffect(() => { box.current.showModal(); }, []);
  const send = async (e) => {
    e.preventDefault();
    try {
      await call("DELETE", `${keyPath(name)}?` + new URLSearchParams({ token: hold.token, force: "true", reason }));
      changed();
      close();
    } catch (err) { setError(err.message); }
  };
  return html`<dialog ref=${box} onClose=${close} aria-labelledby="force">
    <form onSubmit=${send}>
      <h2 id="force">Take ${name} from ${hold.clientId}?</h2>
      <p style=${{ margin: 0 }}>The holder is told, but may still be working. Only resources that check the fencing token are safe from it.</p>
      <label>Reason, for the log and the holder <input type="text" required maxlength="512" value=${reason} onInput=${(e) => setReason(e.target.value)} /></label>
      <div role="alert" class="error">${error}</div>
      <div class="buttons"><button type="button" onClick=${() => box.current.close()}>Keep the lock</button><button class="danger">Release by force</button></div>
    </form></dialog>`;
}

const ends = { HELD: "holds it", RELEASED: "released", EXPIRED: "expired", FORCED: "taken by force", LOST: "lost with all copies" };

// History is a time line of holds, newest first. A bar shows each hold within the time of all listed holds.
function History({ past }) {
  if (past.error) return html`<p class="empty">${past.error.message}</p>`;
  const list = past.data?.entries ?? [];
  if (past.data && list.length === 0) return html`<p class="empty">Nobody is known to have held this key in the time that is kept (history.keep, history.max_bytes).</p>`;
  const now = Date.now();
  const begins = list.map((e) => Date.parse(e.acquiredAt)).filter((t) => t), end = (e) => (e.endedAt ? Date.parse(e.endedAt) : now);
  const first = Math.min(...begins), last = Math.max(...list.map(end)), part = (t) => 100 * (t - first) / Math.max(last - first, 1);
  return html`<ol class="time">${list.map((e) => {
    const from = e.acquiredAt ? Date.parse(e.acquiredAt) : first, held = !e.end || e.end === "HELD";
    return html`<li key=${e.token} class=${held ? "now" : e.end === "RELEASED" ? "" : "bad"}>
      <strong class="key">${e.principal ? `${e.principal} · ` : ""}${e.clientId || "unknown"}</strong> ${ends[e.end ?? "HELD"] ?? e.end}${e.by ? ` by ${e.by}` : ""}
      <div class="quiet">${e.acquiredAt ? html`<time datetime=${e.acquiredAt} title=${e.acquiredAt}>${time(e.acquiredAt)}</time>` : "before the history begins"}
        ${held ? " until now" : html` to <time datetime=${e.endedAt} title=${e.endedAt}>${time(e.endedAt)}</time>`}${e.acquiredAt ? `, ${age(end(e) - from)}` : ""}${millis(e.waited) > 0 ? `, waited ${age(millis(e.waited))}` : ""}</div>
      <div class="track" aria-hidden="true"><i style=${{ left: `${part(from)}%`, width: `${Math.max(part(end(e)) - part(from), 0)}%` }}></i></div></li>`;
  })}</ol>`;
}
