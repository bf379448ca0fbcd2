// Uses the page as a person would: takes locks beside it, sees them come and go, takes one by force,
// and kills the owner. It fails at the first thing that is not as it should be.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { evil, foreign } from "./foreign.mjs";
import { load } from "./load.mjs";
import { Mesh, until } from "./mesh.mjs";

const require = createRequire(join(process.env.NODE_PATH, "x"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [binary, out, how] = process.argv.slice(2);

const views = [["overview", "#/overview"], ["locks", "#/locks"], ["key", "#/key/orders%2F42"], ["events", "#/events"], ["contention", "#/contention"]];
const problems = [];
const check = (ok, what) => { if (!ok) { problems.push(what); console.log("FAILED:", what); } };

// open opens the page of a node and collects what the browser complains of.
async function open(browser, mesh, i, hash, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.on("pageerror", (e) => check(false, `an error on the page: ${e.message}`));
  page.on("console", (m) => { if (m.type() === "error" && /Content Security|Refused/.test(m.text())) check(false, m.text()); });
  await page.goto(mesh.http(i) + "/" + hash);
  return page;
}

// story is the life of one lock as the page shows it.
async function story(browser, mesh) {
  const key = "orders/42";
  const owner = mesh.index((await mesh.call(0, "GET", "/v1/mesh/locate/" + encodeURIComponent(key))).owner);
  const asked = (owner + 1) % 3;
  const list = await open(browser, mesh, asked, "#/locks");
  await list.getByText("No lock is held").waitFor();
  const began = Date.now();
  const holder = mesh.cli(["lock", key, "--client-id", "holder", "--ttl", "30s", "--", "sleep", "600"]);
  await list.getByRole("link", { name: key }).waitFor();
  console.log(`a lock that the command line takes is on the page ${Date.now() - began} ms after the command was started`);

  const page = await open(browser, mesh, asked, "#/key/" + encodeURIComponent(key));
  await page.getByRole("rowheader", { name: "holder" }).waitFor();
  for (const id of ["first", "second", "third"]) {
    mesh.cli(["lock", key, "--client-id", id, "--wait", "60s", "--", "sleep", "600"]);
    await page.locator("ol.queue li", { hasText: id }).waitFor();
  }
  const order = await page.locator("ol.queue li").allInnerTexts();
  check(order.length === 3 && ["first", "second", "third"].every((id, i) => order[i].includes(id)), `the queue is ${order}`);

  await page.getByRole("button", { name: "Release by force" }).click();
  await page.getByLabel("Reason").fill("maintenance of rack 7");
  await page.getByRole("dialog").getByRole("button", { name: "Release by force" }).click();
  await page.getByRole("rowheader", { name: "first" }).waitFor();
  await until("the holder's command has ended", () => holder.exitCode !== null || holder.signalCode !== null);
  console.log(`the holder was told: its command ended with ${holder.exitCode}`);
  check(holder.exitCode === 75, `the command that lost its lock exits with ${holder.exitCode}, want 75`);
  await page.screenshot({ path: join(out, "key-after-force.png") });

  mesh.kill(owner);
  const dead = Date.now();
  const overview = await open(browser, mesh, asked, "#/overview");
  await overview.getByText("2 members in the view").waitFor({ timeout: 20000 });
  console.log(`the page shows the view without the dead owner ${Date.now() - dead} ms after the kill`);
  await overview.screenshot({ path: join(out, "overview-degraded.png") });
  await page.getByRole("rowheader", { name: "first" }).waitFor();

  mesh.startNode(owner);
  await overview.getByText("3 members in the view").waitFor({ timeout: 30000 });
}

// looks opens every view in both colour schemes and three widths, and has axe-core look at it.
async function looks(browser, mesh) {
  for (const scheme of ["light", "dark"]) {
    for (const width of [390, 1280, 1920]) {
      for (const [name, hash] of views) {
        const page = await open(browser, mesh, 0, hash, { viewport: { width, height: 900 }, colorScheme: scheme, bypassCSP: true });
        await page.getByRole("heading", { level: 1 }).waitFor();
        await page.getByText("live", { exact: true }).waitFor();
        await page.screenshot({ path: join(out, `${name}-${width}-${scheme}.png`), fullPage: width === 390 });
        await page.addScriptTag({ content: axe });
        const found = await page.evaluate(async () => (await globalThis.axe.run()).violations.map((v) => `${v.id}: ${v.nodes[0].html.slice(0, 160)}`));
        check(found.length === 0, `${name}, ${width} px, ${scheme}: ${found}`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
        check(!wide, `${name} is wider than ${width} px`);
        await page.context().close();
      }
    }
  }
}

// keyboard goes through the tabs and opens a key without a mouse.
async function keyboard(browser, mesh) {
  const page = await open(browser, mesh, 0, "#/overview");
  await page.getByRole("heading", { level: 1 }).waitFor();
  await page.getByRole("link", { name: "Locks", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "orders/42" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "orders/42" }).waitFor();
}

const mesh = new Mesh(join(process.cwd(), binary), out);
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-precise-memory-info",
    `--host-resolver-rules=MAP ${evil} 127.0.0.1`],
});
try {
  await mesh.start();
  if (how !== "load") {
    await foreign(browser, mesh, check);
    await story(browser, mesh);
    await looks(browser, mesh);
    await keyboard(browser, mesh);
  }
  if (how !== "short") await load(browser, mesh, (hash) => open(browser, mesh, 0, hash), check);
} catch (e) {
  check(false, e.stack);
} finally {
  await browser.close();
  mesh.stop();
}
console.log(problems.length ? `page: ${problems.length} problems` : "page: no problems");
process.exit(problems.length ? 1 : 0);
