// The mesh at a glance: its figures, how fast it grants, its members, and the ring.
import { html, useRef } from "../vendor/preact.js";
import { url } from "../lib/api.js";
import { age, count, millis, plural, rate } from "../lib/format.js";
import { usePoll } from "../lib/live.js";
import { Plot } from "../lib/plot.js";
import { Ring, Letter } from "./ring.js";

const activityPath = "/v1/mesh/activity";

export function Overview({ mesh }) {
  const activity = usePoll(activityPath, 1000);
  const ring = usePoll("/v1/mesh/ring", 5000, mesh.data?.epoch);
  const m = mesh.data;
  const members = activity.data?.members ?? [];
  const sum = (field) => members.reduce((n, x) => n + Number(x[field] ?? 0), 0);
  const speed = useRates(activity, sum);
  const longest = Math.max(0, ...members.map((x) => millis(x.longestWait)));
  const missing = sum("copiesMissing");
  return html`<div class="grid">
    <section class="card two-thirds">
      <header><h1>Overview</h1><a class="source" href=${url(activityPath)}>API</a></header>
      <dl class="figures">
        <div><dt>Locks held</dt><dd><a href="#/locks">${count(sum("holds"))}</a></dd></div>
        <div><dt>Waiting</dt><dd><a href="#/contention">${count(sum("waiters"))}</a></dd></div>
        <div><dt>Longest wait</dt><dd>${longest ? age(longest) : "–"}</dd></div>
        <div><dt>Grants a second</dt><dd>${rate(speed.now.grants)}</dd></div>
        <div><dt>Copies missing</dt><dd>${count(missing)}</dd></div>
        <div><dt>In quarantine</dt><dd>${count(sum("quarantined"))} <small>partitions</small></dd></div>
      </dl>
      <${Plot} label="Grants and releases a second" series=${[["Grants", speed.grants, 1], ["Ends", speed.ends, 2]]} at=${speed.at} />
    </section>
    <section class="card third">
      <header><h2>This node</h2><a class="source" href=${url("/v1/mesh")}>API</a></header>
      ${m && html`<dl class="figures">
        <div><dt>Epoch</dt><dd>${m.epoch}</dd></div>
        <div><dt>Lease left</dt><dd>${m.lease?.valid ? age(millis(m.lease.remaining)) : html`<span class="tag bad">none</span>`}</dd></div>
        <div><dt>Leader</dt><dd>${m.leader || html`<span class="quiet">unknown</span>`}</dd></div>
        <div><dt>Copies of a lock</dt><dd>${m.replicas}</dd></div>
        <div><dt>May still fail</dt><dd>${m.survivableLosses ?? 0} <small>of ${plural(m.seats?.length ?? 0, "voter")}</small></dd></div>
        <div><dt>Release</dt><dd>${m.release ?? "–"}</dd></div>
      </dl>`}
    </section>
    <section class="card half">
      <header><h2>Members</h2><a class="source" href=${url("/v1/mesh")}>API</a></header>
      ${m && html`<div class="scroll" tabindex="0" role="group" aria-label="Members"><table>
        <caption>${plural(m.members?.length ?? 0, "member")} in the view of epoch ${m.epoch}</caption>
        <thead><tr><th scope="col">Name</th><th scope="col">State</th><th scope="col" class="num">Owns</th><th scope="col" class="num">Backs</th><th scope="col" class="num">Held</th><th scope="col" class="num">Waiting</th></tr></thead>
        <tbody>${(m.members ?? []).map((x, i) => { const a = members.find((y) => y.name === x.name) ?? {};
          return html`<tr key=${x.id}><th scope="row"><${Letter} i=${i} name=${x.name} />${x.name}</th>
            <td>${x.leaving ? html`<span class="tag warn">leaving</span>` : a.error ? html`<span class="tag bad" title=${a.error}>silent</span>` : html`<span class="tag good">in</span>`}
              ${x.name === m.leader ? html` <span class="tag">leader</span>` : x.voter ? html` <span class="tag">voter</span>` : ""}</td>
            <td class="num">${count(x.owns)}</td><td class="num">${count(x.backs)}</td><td class="num">${count(Number(a.holds ?? 0))}</td><td class="num">${count(Number(a.waiters ?? 0))}</td></tr>`; })}
        ${(m.seats ?? []).filter((s) => s.absent).map((s) => html`<tr key=${s.id}><th scope="row">${s.name || s.id}</th><td><span class="tag bad">absent voter</span></td><td class="num">–</td><td class="num">–</td><td class="num">–</td><td class="num">–</td></tr>`)}
        </tbody></table></div>`}
    </section>
    <section class="card half">
      <header><h2>Ring</h2><a class="source" href=${url("/v1/mesh/ring")}>API</a></header>
      <${Ring} ring=${ring.data} mesh=${m} />
    </section>
  </div>`;
}

const points = 180;

// useRates computes rates per second from the counters of successive answers, for the plot.
function useRates(activity, sum) {
  const self = useRef({ last: null, rates: { at: [], grants: [], ends: [], now: {} } }).current;
  if (!activity.data || activity.at === self.last?.t) return self.rates;
  const now = { t: activity.at, grants: sum("grants"), ends: sum("ends") };
  const old = self.last;
  self.last = now;
  if (!old || now.t <= old.t) return self.rates;
  // A counter that fell is that of a member that has gone or started anew.
  const per = (field) => Math.max(0, now[field] - old[field]) * 1000 / (now.t - old.t);
  const add = (list, x) => [...list.slice(1 - points), x];
  const next = { grants: per("grants"), ends: per("ends") };
  const p = self.rates;
  self.rates = { at: add(p.at, Date.now() / 1000), grants: add(p.grants, next.grants), ends: add(p.ends, next.ends), now: next };
  return self.rates;
}
