import assert from "node:assert/strict";
import { test } from "node:test";
import { KeyTable } from "../../static/lib/keytable.js";
import { SortedRows } from "../../static/lib/sorted.js";

// random returns numbers below n, the same ones in each run.
function random(seed) {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * n);
  };
}

const name = (i) => `k/${String(i).padStart(6, "0")}`;
const everything = { from: 0, to: 1e9 };
const keysOf = (view) => view.rows.map((r) => r.key);

test("SortedRows is what sorting everything would give", () => {
  const below = random(1);
  const rows = new SortedRows();
  const want = new Set();
  for (let i = 0; i < 30000; i++) {
    const key = name(below(4000));
    // It grows, shrinks, and grows again.
    if (below(10) < (i % 20000 < 10000 ? 7 : 2)) {
      if (!want.has(key)) rows.add({ key });
      want.add(key);
    } else {
      rows.delete(key);
      want.delete(key);
    }
    if (i % 1000 === 0) {
      const sorted = [...want].sort();
      assert.deepEqual([...rows].map((r) => r.key), sorted);
      assert.equal(rows.size, sorted.length);
      const from = below(sorted.length + 1);
      assert.deepEqual(rows.slice(from, from + 40).map((r) => r.key), sorted.slice(from, from + 40));
      assert.ok(rows.blocks.every((b) => b.length > 0 && b.length <= 512));
    }
  }
});

test("a change of 100,000 rows copies one block", () => {
  const rows = new SortedRows();
  for (let i = 0; i < 100000; i++) rows.append({ key: name(2 * i) });
  const before = rows.blocks.map((b) => b.slice());
  rows.add({ key: name(77777) });
  rows.delete(name(150000));
  const changed = rows.blocks.filter((b) => !before.some((old) => old.length === b.length && old[0] === b[0]));
  assert.ok(changed.length <= 3, `${changed.length} of ${rows.blocks.length} blocks have changed`);
});

test("holders come and go", () => {
  const t = new KeyTable();
  const e = (type, key, token, clientId, waiters = 0) => t.apply(type, { key, token, clientId, principal: "", waiters });
  const only = () => t.view(everything).rows[0];
  e("acquired", "k", "1", "a");
  e("acquired", "k", "2", "b");
  assert.deepEqual(only(), { key: "k", waiters: 0, holders: 2, clientId: "a", principal: "" });
  e("released", "k", "1", "a");
  assert.deepEqual(only(), { key: "k", waiters: 0, holders: 1, clientId: "b", principal: "" });
  e("queued", "k", "0", "c", 1);
  e("expired", "k", "2", "b", 1);
  assert.deepEqual(only(), { key: "k", waiters: 1, holders: 0, clientId: undefined, principal: undefined });
  e("left_queue", "k", "0", "c", 0);
  assert.equal(t.view(everything).size, 0);
});

test("what a snapshot does not name is gone once it is complete", () => {
  const t = new KeyTable();
  const snapshot = (key, token, clientId) => t.apply("snapshot", { key, token, clientId, principal: "", waiters: 0 });
  snapshot("a", "1", "x");
  snapshot("b", "2", "x");
  snapshot("c", "3", "x");
  assert.equal(t.view(everything).synced, false);
  t.apply("synced", {});
  assert.equal(t.view(everything).synced, true);
  t.apply("reset", {});
  snapshot("a", "4", "y");
  t.apply("acquired", { key: "d", token: "5", clientId: "x", principal: "", waiters: 0 });
  assert.deepEqual(keysOf(t.view(everything)), ["a", "b", "c", "d"], "nothing vanishes before synced");
  t.apply("synced", {});
  assert.deepEqual(keysOf(t.view(everything)), ["a", "d"]);
  assert.equal(t.view(everything).rows[0].clientId, "y", "a hold of before the reset is not shown");
  assert.equal(t.view(everything).rows[0].holders, 1);
});

test("a filter follows the changes", () => {
  const below = random(2);
  const t = new KeyTable();
  const holders = new Map();
  t.view({ who: "Y", ...everything });
  for (let i = 0; i < 5000; i++) {
    const key = name(below(300));
    const old = holders.get(key);
    if (old) {
      t.apply("released", { key, token: old.token, clientId: old.clientId, waiters: 0 });
      holders.delete(key);
    } else {
      const hold = { token: String(i + 1), clientId: ["axe", "bYe"][below(2)] };
      t.apply("acquired", { key, ...hold, principal: below(4) ? "" : "team/Y", waiters: 0 });
      holders.set(key, hold);
    }
    if (i % 500 !== 0) continue;
    const filtered = t.view({ who: "y", ...everything });
    const fresh = new KeyTable();
    for (const row of t.view(everything).rows) fresh.apply("snapshot", { key: row.key, token: "1", clientId: row.clientId, principal: row.principal, waiters: 0 });
    assert.deepEqual(keysOf(t.view({ who: "y", ...everything })), keysOf(fresh.view({ who: "y", ...everything })));
    assert.deepEqual(keysOf(filtered), keysOf(t.view(everything)).filter((k, n) => {
      const row = t.view(everything).rows[n];
      return `${row.clientId} ${row.principal}`.toLowerCase().includes("y");
    }));
    assert.equal(filtered.size, filtered.rows.length);
    t.view({ who: "y", ...everything });
  }
});

test("a part of the rows is given, also behind the end", () => {
  const t = new KeyTable();
  for (let i = 0; i < 2000; i++) t.apply("acquired", { key: name(1999 - i), token: "1", clientId: "x", waiters: 0 });
  assert.deepEqual(keysOf(t.view({ from: 1000, to: 1002 })), [name(1000), name(1001)]);
  const behind = t.view({ from: 5000, to: 5040 });
  assert.equal(behind.size, 2000);
  assert.equal(behind.from, 1999);
});
