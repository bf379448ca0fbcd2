// Contended keys: the longest queues and waits, as their owners count them.
import { html } from "../vendor/preact.js";
import { url } from "../lib/api.js";
import { age, count, millis } from "../lib/format.js";
import { usePoll } from "../lib/live.js";
import { keyHref } from "./locks.js";

const path = "/v1/mesh/activity?contended=100";

export function Contention() {
  const activity = usePoll(path, 2000);
  const rows = (activity.data?.members ?? []).flatMap((m) => (m.contended ?? []).map((c) => ({ ...c, owner: m.name })));
  rows.sort((a, b) => millis(b.longestWait) - millis(a.longestWait) || b.waiters - a.waiters);
  return html`<section class="card">
    <header><h1>Contention</h1><span class="quiet">keys with waiters, the longest wait first</span><a class="source" href=${url(path)}>API</a></header>
    ${activity.error && html`<p class="error" role="alert">${activity.error.message}</p>`}
    ${activity.data && rows.length === 0 && html`<p class="empty">Nobody waits for any key.</p>`}
    ${rows.length > 0 && html`<div class="scroll" tabindex="0" role="group" aria-label="Contended keys"><table>
      <caption>The ${count(Math.min(rows.length, 100))} keys whose first waiter waits longest</caption>
      <thead><tr><th scope="col">Key</th><th scope="col" class="num">Longest wait</th><th scope="col" class="num">Waiters</th><th scope="col" class="num">Holders</th><th scope="col">Owner</th></tr></thead>
      <tbody>${rows.slice(0, 100).map((r) => html`<tr key=${r.key}><th scope="row" class="key"><a href=${keyHref(r.key)}>${r.key}</a></th>
        <td class="num">${age(millis(r.longestWait))}</td><td class="num">${count(r.waiters)}</td><td class="num">${count(r.holds)}</td><td>${r.owner}</td></tr>`)}</tbody></table></div>`}
  </section>`;
}
