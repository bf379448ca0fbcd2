// A mesh of three real nodes on loopback, and calls to it.
import { spawn } from "node:child_process";
import { mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const names = ["a", "b", "c"];
const port = (i, what) => 25051 + 10 * i + what;

export class Mesh {
  constructor(binary, logs) {
    this.binary = binary;
    this.logs = logs;
    this.dir = mkdtempSync(join(tmpdir(), "sharelock-page-"));
    this.nodes = new Map();
    this.clients = new Set();
  }

  async start() {
    for (const [i] of names.entries()) this.startNode(i);
    await until("all nodes are members", async () => {
      for (const [i] of names.entries()) {
        const m = await this.call(i, "GET", "/v1/mesh");
        if (m.members?.length !== names.length || !m.lease?.valid) return false;
      }
      return true;
    }, 30000);
  }

  startNode(i) {
    const at = (what) => `127.0.0.1:${port(i, what)}`;
    const log = openSync(join(this.logs, `${names[i]}.log`), "a");
    const node = spawn(this.binary, ["serve", "--node-name", names[i], "--data-dir", join(this.dir, names[i]),
      "--http-listen", at(0), "--grpc-listen", at(1), "--peer-listen", at(2), "--gossip-listen", at(3),
      "--seeds", names.map((_, j) => `127.0.0.1:${port(j, 3)}`).join(",")], {
      stdio: ["ignore", log, log], cwd: this.dir, env: { ...process.env, SHARELOCK_LOCKS__MAX_TTL: "10m" },
    });
    this.nodes.set(i, node);
  }

  kill(i) { this.nodes.get(i).kill("SIGKILL"); this.nodes.delete(i); }
  http(i) { return `http://127.0.0.1:${port(i, 0)}`; }
  index(name) { return names.indexOf(name); }

  async call(i, method, path, body) {
    try {
      const answer = await fetch(this.http(i) + path, { method, body: body && JSON.stringify(body), headers: { "Content-Type": "application/json" } });
      return await answer.json();
    } catch (e) {
      return { error: { reason: "UNREACHABLE", message: String(e) } };
    }
  }

  // hold takes n locks over HTTP, 64 at a time. On a busy machine, nodes lose their leases for a moment.
  async hold(n) {
    let next = 0;
    const worker = async () => {
      for (let i = next++; i < n; i = next++) {
        const key = `load/${String(i).padStart(6, "0")}`;
        const a = await until(`${key} is answered`, async () => {
          const answer = await this.call(i % 3, "POST", "/v1/locks/" + encodeURIComponent(key), { clientId: `client-${i % 100}`, requestId: key, ttl: "600s" });
          return answer.error?.code !== 503 && answer;
        }, 60000);
        if (!a.hold) throw new Error(`${key}: ${JSON.stringify(a)}`);
      }
    };
    await Promise.all(Array.from({ length: 64 }, worker));
  }

  // cli starts a client command against the nodes that live.
  cli(args) {
    const servers = [...this.nodes.keys()].map((i) => `127.0.0.1:${port(i, 1)}`).join(",");
    const child = spawn(this.binary, args, { stdio: "ignore", cwd: this.dir, env: { ...process.env, SHARELOCK_SERVER: servers } });
    this.clients.add(child);
    child.on("exit", () => this.clients.delete(child));
    return child;
  }

  stop() {
    for (const child of [...this.clients, ...this.nodes.values()]) child.kill("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }
}

// until waits until check returns something true, and returns that. It throws after ms milliseconds.
export async function until(what, check, ms = 10000) {
  const end = Date.now() + ms;
  for (;;) {
    const got = await check();
    if (got) return got;
    if (Date.now() > end) throw new Error(`after ${ms} ms it is not true that ${what}`);
    await pause(50);
  }
}
