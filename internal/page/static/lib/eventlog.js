// EventLog keeps the latest events of a watch.

const kept = 2000;
const second = 1000;

export class EventLog {
  // now returns the time in milliseconds.
  constructor(now = () => performance.now()) {
    this.now = now;
    this.list = []; // the newest last
    this.next = 0;
    this.paused = false;
    this.late = 0; // how many events came since it was paused
    this.came = []; // how many events came when, of the last five seconds
    this.period = second; // how often the view changes although nothing happens: the rate does
  }

  apply(type, e) {
    if (type === "snapshot" || type === "synced") return;
    const now = this.now();
    const last = this.came.at(-1);
    if (last && now - last.at < second / 10) last.count++; else this.came.push({ at: now, count: 1 });
    if (this.paused) { this.late++; return; }
    this.list.push({ ...e, type, id: ++this.next });
    if (this.list.length >= 2 * kept) this.list = this.list.slice(-kept);
  }

  // view returns the rows from one index to before another, the newest first, of the events with that
  // type, if any, that contain a text.
  view({ type = "", text = "", paused = false, from = 0, to = 0 }) {
    if (paused !== this.paused) { this.paused = paused; this.late = 0; }
    const oldest = this.now() - 5 * second;
    while (this.came.length && this.came[0].at < oldest) this.came.shift();
    const wanted = text.toLowerCase();
    const has = (e) => (!type || e.type === type) &&
      (!wanted || `${e.key ?? ""} ${e.clientId ?? ""} ${e.principal ?? ""} ${e.reason ?? ""}`.toLowerCase().includes(wanted));
    const rows = this.list.slice(-kept).reverse().filter(has);
    from = Math.max(0, Math.min(from, rows.length - 1));
    return { size: rows.length, from, rows: rows.slice(from, to), late: this.late, rate: this.came.reduce((n, c) => n + c.count, 0) / 5 };
  }
}

// Changes only counts the events of a watch.
export class Changes {
  constructor() { this.count = 0; }
  apply() { this.count++; }
  view() { return { count: this.count }; }
}
