// The events as they happen, newest first. At most 2,000 are kept.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { url } from "../lib/api.js";
import { plural, rate, time } from "../lib/format.js";
import { useWatch } from "../lib/live.js";
import { VirtualTable } from "../lib/table.js";
import { keyHref } from "./locks.js";

const kept = 2000;
const words = {
  acquired: ["acquired", "good"], released: ["released", ""], expired: ["expired", "warn"], forced: ["taken by force", "bad"],
  queued: ["queued", ""], left_queue: ["left the queue", ""], moved: ["moved", "warn"], reset: ["gap", "warn"],
};

export function Events({ query }) {
  const [prefix, setPrefix] = useState(query.prefix ?? "");
  const [type, setType] = useState("");
  const [text, setText] = useState("");
  const [paused, pause] = useState(false);
  const store = useRef({ list: [], next: 0, came: [], late: 0 });
  const [version, setVersion] = useState(0);
  const [speed, setSpeed] = useState(0);
  useEffect(() => {
    history.replaceState(null, "", "#/events" + (prefix ? "?" + new URLSearchParams({ prefix }) : ""));
    store.current.list = [];
  }, [prefix]);
  const state = useWatch({ prefix }, (list) => {
    const s = store.current;
    const now = performance.now();
    const news = list.filter((e) => e.type in words);
    if (news.length) s.came.push([now, news.length]);
    while (s.came.length && now - s.came[0][0] > 5000) s.came.shift();
    setSpeed(s.came.reduce((n, [, c]) => n + c, 0) / 5);
    if (paused) { s.late += news.length; return; }
    const fresh = news.slice(-kept).reverse();
    for (const e of fresh) e.id = ++s.next;
    s.list = fresh.concat(s.list).slice(0, kept);
    setVersion((n) => n + 1);
  });
  const rows = useMemo(() => {
    const t = text.toLowerCase();
    return store.current.list.filter((e) => (!type || e.type === type) && (!t || `${e.key} ${e.clientId ?? ""} ${e.principal ?? ""} ${e.reason ?? ""}`.toLowerCase().includes(t)));
  }, [version, type, text, prefix]);
  const columns = [
    { name: "Key", cell: (e) => (e.key ? html`<a href=${keyHref(e.key)} title=${e.key}>${e.key}</a>` : html`<span class="quiet">some events were not delivered</span>`) },
    { name: "Event", class: "w-m", cell: (e) => html`<span class=${"tag " + words[e.type][1]}>${words[e.type][0]}</span>` },
    { name: "Client", class: "w-l", cell: (e) => html`<span title=${e.clientId}>${e.principal ? `${e.principal} · ` : ""}${e.clientId ?? ""}</span>` },
    { name: "Reason", class: "w-m", cell: (e) => html`<span title=${e.reason}>${e.reason ?? ""}</span>` },
    { name: "Queue", class: "w-s num", cell: (e) => e.waiters ?? "" },
    { name: "Time", class: "w-s num", cell: (e) => (e.at ? html`<time datetime=${e.at} title=${e.at}>${time(e.at)}</time>` : "") },
  ];
  return html`<section class="card">
    <header><h1>Events</h1><span class="quiet">${rate(speed)} a second${state !== "live" ? ", reconnecting" : ""}</span>
      <a class="source" href=${url("/v1/events?" + new URLSearchParams({ prefix }))}>API</a></header>
    <form class="filters" onSubmit=${(e) => e.preventDefault()} style=${{ marginBottom: "14px" }}>
      <label>Key begins with <input type="search" value=${prefix} onChange=${(e) => setPrefix(e.target.value)} /></label>
      <label>Event <select value=${type} onChange=${(e) => setType(e.target.value)}><option value="">all</option>${Object.entries(words).map(([id, [name]]) => html`<option value=${id}>${name}</option>`)}</select></label>
      <label>Contains <input type="search" value=${text} onInput=${(e) => setText(e.target.value)} /></label>
      <button type="button" aria-pressed=${paused} onClick=${() => { store.current.late = 0; pause(!paused); }}>${paused ? `Continue (${plural(store.current.late, "event")} passed)` : "Pause"}</button>
    </form>
    <${VirtualTable} caption="Events, newest first" columns=${columns} rows=${rows} id=${(e) => e.id} empty="Nothing has happened since this view was opened." />
  </section>`;
}
