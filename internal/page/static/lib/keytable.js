// KeyTable is what the events of a watch say about keys: who holds them, and how many wait.
import { SortedRows } from "./sorted.js";

export class KeyTable {
  constructor() {
    this.keys = new Map();
    this.all = new SortedRows();
    // matching has the rows that the text who selects; it is null if that is empty.
    this.matching = null;
    this.who = "";
    this.synced = false;
    // round is the number of resets. A row of an earlier round is out of date: an event of this round
    // begins it afresh, and synced removes it.
    this.round = 0;
    this.ended = true;
  }

  apply(type, e) {
    switch (type) {
      case "reset": case "moved":
        this.round++;
        this.ended = false;
        return;
      case "synced":
        if (!this.ended) for (const row of this.keys.values()) if (row.round !== this.round) this.#drop(row);
        this.ended = this.synced = true;
        return;
      default:
        this.#change(type, e);
    }
  }

  // view returns the rows from one index to before another of those that who selects: those with a
  // holder whose client id or principal contains it.
  view({ who = "", from = 0, to = 0 }) {
    this.#select(who.toLowerCase());
    const rows = this.matching ?? this.all;
    from = Math.max(0, Math.min(from, rows.size - 1));
    return { synced: this.synced, size: rows.size, from, rows: rows.slice(from, to).map(shown) };
  }

  #change(type, e) {
    const row = this.#row(e.key);
    switch (type) {
      case "snapshot": case "acquired":
        if (+e.token) addHold(row, e);
        break;
      case "released": case "expired": case "forced":
        removeHold(row, e.token);
        break;
    }
    row.waiters = e.waiters ?? row.waiters;
    if (!row.hold && !row.waiters && type !== "snapshot") this.#drop(row); else this.#match(row);
  }

  #row(key) {
    let row = this.keys.get(key);
    if (!row) {
      row = { key, waiters: 0, hold: null, others: null, round: this.round, matches: false };
      this.keys.set(key, row);
      this.all.add(row);
    } else if (row.round !== this.round) {
      row.round = this.round;
      row.hold = row.others = null;
      row.waiters = 0;
    }
    return row;
  }

  #drop(row) {
    this.keys.delete(row.key);
    this.all.delete(row.key);
    if (row.matches) this.matching.delete(row.key);
  }

  // #match brings matching up to date after a change of row.
  #match(row) {
    if (!this.matching) return;
    const matches = selects(this.who, row);
    if (matches === row.matches) return;
    row.matches = matches;
    if (matches) this.matching.add(row); else this.matching.delete(row.key);
  }

  #select(who) {
    if (who === this.who) return;
    this.who = who;
    this.matching = who ? new SortedRows() : null;
    for (const row of this.all) {
      row.matches = who !== "" && selects(who, row);
      if (row.matches) this.matching.append(row);
    }
  }
}

// addHold adds a hold to a row. Most keys have one holder, so only further holds need a map.
function addHold(row, { token, clientId, principal }) {
  const h = { token, clientId, principal };
  if (!row.hold || row.hold.token === token) row.hold = h; else (row.others ??= new Map()).set(token, h);
}

// removeHold removes a hold from a row.
function removeHold(row, token) {
  if (row.hold?.token !== token) { row.others?.delete(token); return; }
  row.hold = row.others?.values().next().value ?? null;
  if (row.hold) row.others.delete(row.hold.token);
}

function selects(who, row) {
  const has = (h) => h.clientId.toLowerCase().includes(who) || (h.principal ?? "").toLowerCase().includes(who);
  if (!row.hold) return false;
  if (has(row.hold)) return true;
  for (const h of row.others?.values() ?? []) if (has(h)) return true;
  return false;
}

// shown returns what the view shows of a row.
const shown = ({ key, waiters, hold, others }) => ({
  key, waiters, holders: hold ? 1 + (others?.size ?? 0) : 0, clientId: hold?.clientId, principal: hold?.principal,
});
