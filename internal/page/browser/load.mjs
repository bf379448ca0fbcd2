// Follows 100,000 held locks and 10,000 events a second in every view, and measures what that costs
// the page.
import { until } from "./mesh.mjs";

const locks = 100000;
const events = 10000;
const hot = "bench/page/hot"; // the key of bench's --contention

// The bounds. A task is measured in processor time of the page's main thread: on a machine that is busy
// with nodes, clients and browser, the time on the clock says how busy it is, and nothing of the page.
const mostUpdates = 10; // a second
const mostTask = 100; // ms
const mostHeap = 150; // MiB

const views = [
  ["overview", "#/overview"],
  ["locks", "#/locks", search],
  ["one key", "#/key/" + encodeURIComponent(hot)],
  ["events", "#/events", scroll],
  ["contention", "#/contention"],
];

// load opens every view beside the load. open(hash) opens a page.
export async function load(browser, mesh, open, check) {
  await mesh.hold(locks);
  // A queue that lasts, whose waiting times grow.
  mesh.cli(["lock", "load/queue", "--client-id", "client-q", "--", "sleep", "3600"]);
  for (let i = 0; i < 10; i++) mesh.cli(["lock", "load/queue", "--client-id", "waiter", "--wait", "10m", "--", "sleep", "3600"]);
  const ended = async () => {
    const { members } = await mesh.call(0, "GET", "/v1/mesh/activity");
    return members.reduce((n, m) => n + Number(m.grants) + Number(m.ends), 0);
  };
  for (const [name, hash, use] of views) {
    const bench = mesh.cli(["bench", "--workers", "256", "--keys", "1000", "--contention", "0.01", "--rate", String(events / 2),
      "--duration", "10m", "--prefix", "bench/page/"]);
    try {
      await until("the bench runs", async () => (await mesh.call(0, "GET", "/v1/locks?prefix=" + encodeURIComponent("bench/page/"))).locks?.length, 60000);
      const [began, before] = [performance.now(), await ended()];
      const got = await measure(browser, open, hash, use);
      const rate = (await ended() - before) * 1000 / (performance.now() - began);
      console.log(`${name}, with ${Math.round(rate)} events a second: ${got.updates.toFixed(1)} updates a second, the longest task ${got.task.toFixed(0)} ms ` +
        `(${got.tasks} above 50 ms), heap ${got.heap} MiB, ${got.drawn} rows drawn of ${got.rows}`);
      check(got.updates <= mostUpdates, `${name} is updated ${got.updates} times a second`);
      check(got.updates >= 0.3, `${name} is updated ${got.updates} times a second: it does not follow`);
      check(got.task <= mostTask, `${name} has a task of ${got.task} ms`);
      check(got.heap < mostHeap, `the heap of ${name} has ${got.heap} MiB`);
      check(got.drawn < 110, `${name} draws ${got.drawn} rows`);
      if (name === "locks") check(got.rows > locks, `the table has ${got.rows} rows`);
    } finally {
      bench.kill();
      await until("the bench has ended", () => bench.exitCode !== null || bench.signalCode !== null, 60000);
    }
  }
}

// measure opens a view, counts its updates while nobody touches it, and then has use touch it.
async function measure(browser, open, hash, use) {
  const categories = ["-*", "disabled-by-default-devtools.timeline", "blink.user_timing"];
  await browser.startTracing(undefined, { categories });
  const page = await open(hash);
  await page.getByText("live", { exact: true }).waitFor({ timeout: 60000 });
  await page.waitForFunction(() => !/reading|reconnecting/.test(document.querySelector("main").innerText), undefined, { timeout: 120000, polling: 500 });
  const updates = await page.evaluate(async () => {
    const frames = new Set();
    const seen = new MutationObserver(() => frames.add(document.timeline.currentTime));
    seen.observe(document.getElementById("app"), { subtree: true, childList: true, characterData: true, attributes: true });
    const began = performance.now();
    await new Promise((r) => { setTimeout(r, 8000); });
    seen.disconnect();
    return frames.size * 1000 / (performance.now() - began);
  });
  await use?.(page);
  const heap = await heapOf(page);
  const [rows, drawn] = await page.evaluate(() => [Number(document.querySelector(".tall table")?.getAttribute("aria-rowcount") ?? 0), document.querySelectorAll("tbody tr").length]);
  await page.evaluate((mark) => performance.mark(mark), end);
  const trace = await browser.stopTracing();
  await page.context().close();
  const tasks = mainTasks(trace);
  return { updates, rows, drawn, heap, task: Math.max(...tasks), tasks: tasks.filter((t) => t > 50).length };
}

// heapOf returns the size of the heaps of a page and its workers, in MiB.
async function heapOf(page) {
  const cdp = await page.context().newCDPSession(page);
  const own = await cdp.send("Runtime.getHeapUsage");
  const workers = [];
  cdp.on("Target.attachedToTarget", ({ sessionId }) => {
    const message = JSON.stringify({ id: 1, method: "Runtime.getHeapUsage" });
    cdp.send("Target.sendMessageToTarget", { sessionId, message });
  });
  cdp.on("Target.receivedMessageFromTarget", ({ message }) => {
    const { id, result } = JSON.parse(message);
    if (id === 1) workers.push(result);
  });
  await cdp.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
  await until("the workers have told the sizes of their heaps", () => workers.length === page.workers().length, 60000);
  return Math.round([own, ...workers].reduce((n, h) => n + h.usedSize + h.embedderHeapUsedSize + h.backingStorageSize, 0) / 2 ** 20);
}

// end is a mark at the end of the trace, which shows that nothing was left out, and which thread is
// the page's.
const end = "page: end";

// mainTasks returns the processor times, in milliseconds, of the tasks of the page's main thread.
function mainTasks(trace) {
  const { traceEvents } = JSON.parse(trace);
  const marked = traceEvents.find((e) => e.name === end);
  const tasks = traceEvents.filter((e) => e.name === "RunTask" && e.pid === marked.pid && e.tid === marked.tid && e.tdur !== undefined);
  if (tasks.length < 100) throw new Error(`the trace has only ${tasks.length} tasks`);
  return tasks.map((t) => t.tdur / 1000);
}

// search filters the table of locks and goes through it.
async function search(page) {
  const who = page.getByLabel("Client or principal contains");
  await who.fill("client-1");
  await page.getByText(/^1[0-9],\d\d\d keys$/).waitFor({ timeout: 60000 });
  await scroll(page);
  await who.fill("");
  await page.getByText(/^10\d,\d\d\d keys$/).waitFor({ timeout: 60000 });
  await scroll(page);
}

// scroll goes through a table, and waits for the rows at its end.
async function scroll(page) {
  await page.locator(".tall").evaluate(async (box) => {
    for (let i = 0; i <= 40; i++) {
      box.scrollTop = box.scrollHeight * i / 40;
      await new Promise(requestAnimationFrame);
    }
  });
  await page.waitForFunction(() => {
    const { bottom } = document.querySelector(".tall").getBoundingClientRect();
    return [...document.querySelectorAll(".tall tbody tr:not(.gap)")].some((r) => r.getBoundingClientRect().bottom > bottom - 60);
  }, undefined, { timeout: 60000, polling: 100 });
}
