import assert from "node:assert/strict";
import { test } from "node:test";
import { EventLog } from "../../static/lib/eventlog.js";
import { Feed } from "../../static/lib/feed.js";

// A Clock stands still until tick, which lets milliseconds pass.
class Clock {
  #now = 1000;
  #timers = new Set();

  now() { return this.#now; }

  after(ms, f) {
    const timer = { at: this.#now + ms, f };
    this.#timers.add(timer);
    return timer;
  }

  cancel(timer) { this.#timers.delete(timer); }

  tick(ms) {
    for (const end = this.#now + ms; this.#now < end;) {
      this.#now++;
      for (const timer of this.#timers) if (timer.at <= this.#now && this.#timers.delete(timer)) timer.f();
    }
  }
}

test("a view is told at most ten times a second, and not before it has drawn", () => {
  const time = new Clock();
  const sent = [];
  const model = { n: 0, apply() { this.n++; }, view(asked) { return { n: this.n, asked }; } };
  const feed = new Feed(model, (answer) => sent.push(answer), time);
  feed.event("acquired", {});
  time.tick(1000);
  assert.equal(sent.length, 0, "nothing is sent unasked");
  feed.ask("all", 1);
  assert.deepEqual(sent, [{ state: "connecting", number: 1, n: 1, asked: "all" }]);

  for (let ms = 0; ms < 1000; ms++) { feed.event("acquired", {}); time.tick(1); }
  assert.equal(sent.length, 1, "a view that does not draw is told nothing");
  feed.next();
  time.tick(1);
  assert.deepEqual(sent.at(-1), { state: "connecting", number: 1, n: 1001, asked: "all" });

  sent.length = 0;
  for (let ms = 0; ms < 5000; ms++) {
    for (let i = 0; i < 10; i++) feed.event("acquired", {});
    feed.next();
    time.tick(1);
  }
  assert.ok(sent.length >= 45 && sent.length <= 50, `it was told ${sent.length} times in 5 s`);
  feed.next();
  time.tick(200);
  assert.equal(sent.at(-1).n, 51001, "the last change is told");
  const before = sent.length;
  feed.next();
  time.tick(5000);
  assert.equal(sent.length, before, "nothing is told when nothing changes");
  feed.ask("some", 2);
  assert.equal(sent.at(-1).asked, "some", "a question is answered at once");
});

test("the log keeps the newest events, and tells how fast they come", () => {
  let now = 0;
  const log = new EventLog(() => now);
  const all = { from: 0, to: 1e9 };
  for (let i = 1; i <= 50000; i++) {
    now = i / 10;
    log.apply(i % 2 ? "acquired" : "released", { key: `k${i}`, clientId: `c${i % 3}` });
  }
  log.apply("snapshot", { key: "k" });
  const view = log.view(all);
  assert.equal(view.size, 2000);
  assert.equal(view.rows[0].key, "k50000");
  assert.equal(view.rows[1999].key, "k48001");
  assert.equal(new Set(view.rows.map((e) => e.id)).size, 2000);
  assert.equal(view.rate, 10000);
  assert.ok(log.came.length <= 60 && log.list.length < 4000);
  assert.equal(log.view({ ...all, type: "released" }).size, 1000);
  assert.deepEqual(log.view({ text: "K49999", ...all }).rows.map((e) => e.key), ["k49999"]);
  assert.deepEqual(log.view({ from: 10, to: 12 }).rows.map((e) => e.key), ["k49990", "k49989"]);

  log.view({ ...all, paused: true });
  log.apply("acquired", { key: "later" });
  const paused = log.view({ ...all, paused: true });
  assert.equal(paused.late, 1);
  assert.equal(paused.rows[0].key, "k50000");
  now += 6000;
  assert.equal(log.view({ ...all, paused: true }).rate, 0);
  assert.equal(log.view(all).late, 0);
});
