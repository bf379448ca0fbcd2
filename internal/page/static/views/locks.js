// All keys that are held or waited for, live. The rows come from one watch of the prefix; TTL and
// waiting times of the rows in sight are read from the keys' own state.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { get, keyPath, url } from "../lib/api.js";
import { age, count, millis, plural } from "../lib/format.js";
import { later } from "../lib/later.js";
import { useFeed } from "../lib/live.js";
import { useRange, VirtualTable } from "../lib/table.js";

export const keyHref = (key) => "#/key/" + encodeURIComponent(key);

export function Locks({ query }) {
  const [prefix, setPrefix] = useState(query.prefix ?? "");
  const [who, setWho] = useState(query.who ?? "");
  const asked = useDebounced(prefix, 250);
  useEffect(() => {
    const q = new URLSearchParams();
    if (asked) q.set("prefix", asked);
    if (who) q.set("who", who);
    history.replaceState(null, "", "#/locks" + (q.size ? "?" + q : ""));
  }, [asked, who]);

  const [range, want] = useRange();
  const table = useFeed("keys", { prefix: asked }, { who, ...range }) ?? { state: "connecting", size: 0, from: 0, rows: [] };
  const details = useDetails();

  const columns = [
    { name: "Key", cell: (r) => html`<a href=${keyHref(r.key)} title=${r.key}>${r.key}</a>` },
    { name: "Holder", class: "w-l", cell: (r) => holderOf(r) },
    { name: "TTL left", class: "w-m", cell: (r) => html`<${Life} lock=${details.of(r.key)} />` },
    { name: "Queue", class: "w-s num", cell: (r) => (r.waiters ? count(r.waiters) : html`<span class="quiet">–</span>`) },
    { name: "Waiting since", class: "w-m num", cell: (r) => longest(details.of(r.key)) },
  ];
  return html`<section class="card">
    <header><h1>Locks</h1>
      <span class="quiet">${table.synced ? plural(table.size, "key") : "reading …"}${table.state !== "live" && ", reconnecting"}</span>
      <a class="source" href=${url("/v1/locks?" + new URLSearchParams({ prefix: asked }))}>API</a></header>
    <form class="filters" onSubmit=${(e) => e.preventDefault()} role="search" style=${{ marginBottom: "14px" }}>
      <label>Key begins with <input type="search" value=${prefix} onInput=${(e) => setPrefix(e.target.value)} placeholder="orders/" /></label>
      <label>Client or principal contains <input type="search" value=${who} onInput=${(e) => setWho(e.target.value)} /></label>
    </form>
    <${VirtualTable} caption="Keys that are held or waited for" columns=${columns} ...${table} want=${want} id=${(r) => r.key} seen=${details.want}
      empty=${prefix || who ? "No key matches. Clear a filter to see more." : html`No lock is held. Take one: <span class="code">sharelock lock demo -- sleep 30</span>`} />
  </section>`;
}

function holderOf(r) {
  if (r.holders === 0) return html`<span class="quiet">nobody yet</span>`;
  const more = r.holders - 1;
  return html`<span title=${r.clientId}>${r.principal ? `${r.principal} · ` : ""}${r.clientId}</span>${more > 0 && html` <span class="tag">+${more}</span>`}`;
}

// Life draws how much of a TTL is left.
export function Life({ lock }) {
  const hold = lock?.holds?.[0];
  if (!hold) return html`<span class="quiet">–</span>`;
  const left = millis(hold.expiresIn) - (performance.now() - lock.readAt);
  const part = Math.max(0, Math.min(1, left / millis(hold.ttl)));
  return html`<span class="life" aria-hidden="true"><i style=${{ width: part * 100 + "%" }}></i></span>${age(left)}`;
}

function longest(lock) {
  const first = lock?.waiters?.[0];
  if (!first) return html`<span class="quiet">–</span>`;
  return age(millis(first.waiting) + performance.now() - lock.readAt);
}

// useDetails reads the state of the visible keys: at most six at a time, each at most every five
// seconds. It forgets keys that are no longer visible.
function useDetails() {
  const [, redraw] = useState(0);
  const self = useRef(null);
  self.current ??= { known: new Map(), wanted: [], busy: new Set() };
  const s = self.current;
  useEffect(() => {
    const timer = setInterval(() => {
      if (document.visibilityState === "hidden") return;
      const now = performance.now();
      for (const key of s.wanted) {
        if (s.busy.size >= 6) break;
        const old = s.known.get(key);
        if (s.busy.has(key) || (old && now - old.readAt < 5000)) continue;
        s.busy.add(key);
        get(keyPath(key)).then((a) => ({ ...a.lock, readAt: performance.now() }), () => ({ readAt: performance.now() }))
          .then((lock) => { s.busy.delete(key); s.known.set(key, lock); });
      }
      later(() => redraw((n) => n + 1));
    }, 500);
    return () => clearInterval(timer);
  }, []);
  return {
    of: (key) => s.known.get(key),
    want: (rows) => {
      s.wanted = rows.map((r) => r.key);
      if (s.known.size > 400) { const keep = new Set(s.wanted); for (const k of s.known.keys()) if (!keep.has(k)) s.known.delete(k); }
    },
  };
}

function useDebounced(value, ms) {
  const [settled, set] = useState(value);
  useEffect(() => { const t = setTimeout(() => set(value), ms); return () => clearTimeout(t); }, [value, ms]);
  return settled;
}
