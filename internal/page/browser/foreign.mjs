// A page of another origin tries to take a lock, and to free one whose token it knows, at a node that
// everyone may use: from another port of the same host, from another host name, and by a host name of its
// own that it has made to resolve to the node (DNS rebinding). Nothing may come of it.
import { createServer } from "node:http";
import { until } from "./mesh.mjs";

// evil is the name of the attacker's host. The browser is told to resolve it to 127.0.0.1.
export const evil = "evil.example";

// attack runs in the page. It tries everything that a page can send, and says what it could read.
async function attack({ node, victim, token }) {
  const take = (how) => `${node}/v1/locks/${encodeURIComponent(`evil/${how}`)}`;
  const body = JSON.stringify({ clientId: "evil", ttl: "5m", wait: "0s" });
  const read = [];
  const tell = (how) => async (answer) => {
    if (answer.type !== "opaque" && answer.ok) read.push(`${how}: ${answer.status} ${(await answer.text()).slice(0, 80)}`);
  };
  const attempt = (how, url, options) => fetch(url, options).then(tell(how)).catch(() => {});
  const json = { "Content-Type": "application/json" };
  await attempt("fetch", take("fetch"), { method: "POST", headers: json, body });
  await attempt("no-cors", take("no-cors"), { method: "POST", mode: "no-cors", headers: { "Content-Type": "text/plain" }, body });
  await attempt("credentials", take("credentials"), { method: "POST", mode: "no-cors", credentials: "include", body });
  await attempt("blob", take("blob"), { method: "POST", mode: "no-cors", body: new Blob([body]) });
  await attempt("original", `${node}/lock`, { method: "POST", mode: "no-cors", body: JSON.stringify({ key: "evil/original", timeoutMs: 0 }) });
  await attempt("release", `${node}/v1/locks/${encodeURIComponent(victim)}?token=${token}`, { method: "DELETE" });
  await attempt("force", `${node}/v1/locks/${encodeURIComponent(victim)}?force=true`, { method: "DELETE" });
  await attempt("renew", `${node}/v1/locks/${encodeURIComponent(victim)}`, { method: "PATCH", headers: json, body: JSON.stringify({ token, ttl: "1s" }) });
  await attempt("unlock", `${node}/unlock`, { method: "POST", mode: "no-cors", body: JSON.stringify({ key: victim }) });
  await attempt("leave", `${node}/v1/mesh/leave`, { method: "POST", mode: "no-cors", body: "{}" });
  navigator.sendBeacon(take("beacon"), body);

  // A form can send the same text: its one field is {"clientId":"evil","x":"=…"}, or rather what a
  // tolerant decoder would make of it.
  for (const enctype of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]) {
    const frame = document.body.appendChild(document.createElement("iframe"));
    frame.name = `form-${enctype}`;
    const form = document.createElement("form");
    Object.assign(form, { action: take(`form-${enctype}`), method: "POST", enctype, target: frame.name });
    const field = document.createElement("input");
    field.name = '{"clientId":"evil","metadata":{"x":"';
    field.value = '"}}';
    form.append(field);
    document.body.append(form);
    const loaded = new Promise((resolve) => { frame.addEventListener("load", resolve, { once: true }); setTimeout(resolve, 3000); });
    form.submit();
    await loaded;
  }
  // Events of the locks.
  await new Promise((resolve) => {
    const events = new EventSource(`${node}/v1/events?prefix=`);
    events.onmessage = (e) => { read.push(`events: ${e.data}`); };
    for (const type of ["acquired", "synced", "reset"]) events.addEventListener(type, (e) => read.push(`events: ${e.data}`));
    events.onerror = () => { events.close(); resolve(); };
    setTimeout(() => { events.close(); resolve(); }, 2000);
  });
  return read;
}

// foreign has pages of other origins attack a node, and checks what has become of it.
export async function foreign(browser, mesh, check) {
  const server = createServer((_, answer) => {
    answer.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>evil</title><body></body>");
  });
  await new Promise((listening) => { server.listen(0, "127.0.0.1", listening); });
  const victim = "victim/lock";
  const taken = await mesh.call(0, "POST", "/v1/locks/" + encodeURIComponent(victim), { clientId: "victim", ttl: "9m" });
  check(!!taken.hold, `the victim's lock: ${JSON.stringify(taken)}`);
  const token = taken.hold?.token;
  const at = new URL(mesh.http(0)).port;
  try {
    for (const [what, page, node] of [
      ["another port", `http://127.0.0.1:${server.address().port}/`, mesh.http(0)],
      ["another host name", `http://${evil}:${server.address().port}/`, mesh.http(0)],
      ["a rebound host name", `http://${evil}:${at}/healthz`, `http://${evil}:${at}`],
    ]) {
      const context = await browser.newContext();
      const tab = await context.newPage();
      await tab.goto(page);
      const read = await tab.evaluate(attack, { node, victim, token });
      const rebound = node.includes(evil);
      // Reading by a rebound name is not defended: see docs/security.md.
      check(rebound || read.length === 0, `a page of ${what} has read ${read}`);
      check(!read.some((r) => !r.startsWith("events:")), `a page of ${what} has changed something: ${read}`);
      await context.close();

      const list = await mesh.call(0, "GET", "/v1/locks?prefix=" + encodeURIComponent("evil/"));
      check(list.locks === undefined || list.locks.length === 0, `a page of ${what} has taken ${JSON.stringify(list.locks)}`);
      const still = await mesh.call(0, "GET", "/v1/locks/" + encodeURIComponent(victim));
      const holds = still.lock?.holds ?? still.holds ?? [];
      check(holds.length === 1 && holds[0].token === token && holds[0].ttl !== "1s", `a page of ${what} has changed the victim's lock: ${JSON.stringify(still)}`);
      await until("all nodes are still members", async () => (await mesh.call(0, "GET", "/v1/mesh")).members?.length === 3);
    }
    // The node's own page may.
    const context = await browser.newContext();
    const own = await context.newPage();
    await own.goto(`http://localhost:${at}/`);
    const take = () => own.evaluate(async () => (await fetch("/v1/locks/own%2Fpage", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ clientId: "own", ttl: "1s" }),
    })).status);
    await until("the node's own page takes a lock", async () => (await take()) === 200);
    await context.close();
    console.log("pages of other origins have neither taken nor freed a lock");
  } finally {
    server.close();
    await mesh.call(0, "DELETE", `/v1/locks/${encodeURIComponent(victim)}?token=${token}`);
  }
}
