// The page: a bar with the views, the strip with what is wrong, and one view.
import { html, render, useEffect, useRef, useState } from "./vendor/preact.js";
import { onSignedOut } from "./lib/api.js";
import { usePoll } from "./lib/live.js";
import { Worries } from "./views/worries.js";
import { Overview } from "./views/overview.js";
import { Locks } from "./views/locks.js";
import { Key } from "./views/key.js";
import { Events } from "./views/events.js";
import { Contention } from "./views/contention.js";
import { SignIn } from "./views/signin.js";

const tabs = [["overview", "Overview"], ["locks", "Locks"], ["events", "Events"], ["contention", "Contention"]];

// place is the view and its parameters, as the fragment of the address names them:
// #/locks?prefix=a, #/key/NAME.
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view = "", ...rest] = path.split("/");
  let key = "";
  try { key = decodeURIComponent(rest.join("/")); } catch { key = rest.join("/"); }
  return { view: view || "overview", key, query: Object.fromEntries(new URLSearchParams(query)) };
}

function App() {
  const [at, go] = useState(place);
  const [locked, lock] = useState(false);
  const main = useRef(null);
  useEffect(() => {
    const moved = () => {
      go(place());
      main.current?.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    };
    addEventListener("hashchange", moved);
    onSignedOut(() => lock(true));
    return () => removeEventListener("hashchange", moved);
  }, []);
  const mesh = usePoll(locked ? null : "/v1/mesh", 2000);
  const current = at.view === "key" ? "locks" : at.view;
  useEffect(() => {
    const name = at.view === "key" ? at.key : (tabs.find(([id]) => id === at.view) ?? tabs[0])[1];
    document.title = `${name} – ${mesh.data?.cluster ?? "ShareLock"}`;
  }, [at, mesh.data?.cluster]);

  if (locked) return html`<${SignIn} done=${() => lock(false)} />`;
  return html`
    <a class="skip" href="#content" onClick=${(e) => { e.preventDefault(); main.current.focus(); }}>Skip to the content</a>
    <header class="bar"><div class="inside">
      <a class="brand" href="#/overview"><img src="assets/icon.svg" alt="" />ShareLock</a>
      <span class="where">${mesh.data ? html`${mesh.data.cluster} · asked at node ${mesh.data.node}` : "…"}</span>
      <span class="state">
        <span class=${"dot " + (mesh.error ? "lost" : mesh.data ? "live" : "")} aria-hidden="true"></span>
        ${mesh.error ? "node does not answer" : mesh.data ? "live" : "connecting"}
      </span>
      <nav class="tabs" aria-label="Views">
        ${tabs.map(([id, name]) => html`<a href=${"#/" + id} aria-current=${id === current ? "page" : undefined}>${name}</a>`)}
      </nav>
    </div></header>
    <main id="content" ref=${main} tabindex="-1">
      <${Worries} mesh=${mesh} />
      <${View} at=${at} mesh=${mesh} />
    </main>`;
}

function View({ at, mesh }) {
  switch (at.view) {
    case "locks": return html`<${Locks} query=${at.query} />`;
    case "key": return html`<${Key} key=${at.key} name=${at.key} />`;
    case "events": return html`<${Events} query=${at.query} />`;
    case "contention": return html`<${Contention} />`;
    default: return html`<${Overview} mesh=${mesh} />`;
  }
}

render(html`<${App} />`, document.getElementById("app"));
