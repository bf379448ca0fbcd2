// KeyTable is the state of keys by the events of a watch: who holds them, and how many wait.
export class KeyTable {
  constructor() {
    this.keys = new Map();
    this.synced = false;
    // sorted is the list of rows by key, without those in added and with those in gone.
    this.sorted = [];
    this.added = new Set();
    this.gone = new Set();
    // snapshot holds the keys that were in the snapshot since the last reset; null after synced.
    this.snapshot = new Set();
  }

  apply(list) { for (const e of list) this.one(e); }

  one(e) {
    switch (e.type) {
      case "reset": case "moved":
        this.snapshot = new Set();
        return;
      case "synced":
        // Keys that are not in the snapshot were released without an event.
        if (this.snapshot) for (const key of this.keys.keys()) if (!this.snapshot.has(key)) this.drop(key);
        this.snapshot = null;
        this.synced = true;
        return;
      case "snapshot": {
        const first = this.snapshot && !this.snapshot.has(e.key);
        this.snapshot?.add(e.key);
        const row = this.row(e.key);
        if (first) row.holds = new Map();
        if (+e.token) row.holds.set(e.token, e);
        row.waiters = e.waiters ?? row.waiters;
        return;
      }
      case "acquired":
        this.row(e.key).holds.set(e.token, e);
        break;
      case "released": case "expired": case "forced":
        this.row(e.key).holds.delete(e.token);
        break;
    }
    const row = this.row(e.key);
    if (e.waiters !== undefined) row.waiters = e.waiters;
    if (row.holds.size === 0 && !row.waiters) this.drop(e.key);
  }

  row(key) {
    let row = this.keys.get(key);
    if (!row) {
      row = { key, holds: new Map(), waiters: 0 };
      this.keys.set(key, row);
      this.added.add(row);
    }
    return row;
  }

  drop(key) {
    const row = this.keys.get(key);
    if (!row) return;
    this.keys.delete(key);
    if (!this.added.delete(row)) this.gone.add(row);
  }

  // rows returns all rows sorted by key; who, if not empty, selects those of a client or principal.
  // New rows are sorted separately and merged: sorting everything would block the page for a tenth of
  // a second.
  rows(who) {
    if (this.added.size || this.gone.size) {
      const added = [...this.added].sort((a, b) => (a.key < b.key ? -1 : 1));
      const merged = [];
      let next = 0;
      for (const row of this.sorted) {
        if (this.gone.has(row)) continue;
        while (next < added.length && added[next].key < row.key) merged.push(added[next++]);
        merged.push(row);
      }
      while (next < added.length) merged.push(added[next++]);
      this.sorted = merged;
      this.added.clear();
      this.gone.clear();
    }
    if (!who) return this.sorted;
    const text = who.toLowerCase();
    return this.sorted.filter((r) => {
      for (const h of r.holds.values()) if (`${h.clientId} ${h.principal ?? ""}`.toLowerCase().includes(text)) return true;
      return false;
    });
  }
}
