// What happens now, newest first. At most 2,000 events are kept.
import { html, useEffect, useState } from "../vendor/preact.js";
import { url } from "../lib/api.js";
import { plural, rate, time } from "../lib/format.js";
import { useFeed } from "../lib/live.js";
import { useRange, VirtualTable } from "../lib/table.js";
import { keyHref } from "./locks.js";

const words = {
  acquired: ["acquired", "good"], released: ["released", ""], expired: ["expired", "warn"], forced: ["taken by force", "bad"],
  queued: ["queued", ""], left_queue: ["left the queue", ""], moved: ["moved", "warn"], reset: ["gap", "warn"],
};

export function Events({ query }) {
  const [prefix, setPrefix] = useState(query.prefix ?? "");
  const [type, setType] = useState("");
  const [text, setText] = useState("");
  const [paused, pause] = useState(false);
  useEffect(() => {
    history.replaceState(null, "", "#/events" + (prefix ? "?" + new URLSearchParams({ prefix }) : ""));
  }, [prefix]);
  const [range, want] = useRange();
  const log = useFeed("log", { prefix }, { type, text, paused, ...range }) ?? { state: "connecting", size: 0, from: 0, rows: [], late: 0, rate: 0 };
  const columns = [
    { name: "Key", cell: (e) => (e.key ? html`<a href=${keyHref(e.key)} title=${e.key}>${e.key}</a>` : html`<span class="quiet">some events were not delivered</span>`) },
    { name: "Event", class: "w-m", cell: (e) => html`<span class=${"tag " + words[e.type][1]}>${words[e.type][0]}</span>` },
    { name: "Client", class: "w-l", cell: (e) => html`<span title=${e.clientId}>${e.principal ? `${e.principal} · ` : ""}${e.clientId ?? ""}</span>` },
    { name: "Reason", class: "w-m", cell: (e) => html`<span title=${e.reason}>${e.reason ?? ""}</span>` },
    { name: "Queue", class: "w-s num", cell: (e) => e.waiters ?? "" },
    { name: "Time", class: "w-s num", cell: (e) => (e.at ? html`<time datetime=${e.at} title=${e.at}>${time(e.at)}</time>` : "") },
  ];
  return html`<section class="card">
    <header><h1>Events</h1><span class="quiet">${rate(log.rate)} a second${log.state !== "live" ? ", reconnecting" : ""}</span>
      <a class="source" href=${url("/v1/events?" + new URLSearchParams({ prefix }))}>API</a></header>
    <form class="filters" onSubmit=${(e) => e.preventDefault()} style=${{ marginBottom: "14px" }}>
      <label>Key begins with <input type="search" value=${prefix} onChange=${(e) => setPrefix(e.target.value)} /></label>
      <label>Event <select value=${type} onChange=${(e) => setType(e.target.value)}><option value="">all</option>${Object.entries(words).map(([id, [name]]) => html`<option value=${id}>${name}</option>`)}</select></label>
      <label>Contains <input type="search" value=${text} onInput=${(e) => setText(e.target.value)} /></label>
      <button type="button" aria-pressed=${paused} onClick=${() => pause(!paused)}>${paused ? `Continue (${plural(log.late, "event")} passed)` : "Pause"}</button>
    </form>
    <${VirtualTable} caption="Events, newest first" columns=${columns} ...${log} want=${want} id=${(e) => e.id} empty="Nothing has happened since this view was opened." />
  </section>`;
}
