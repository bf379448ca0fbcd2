// What should worry an operator first: one sentence for each state of the mesh that is not well.
import { html } from "../vendor/preact.js";
import { plural } from "../lib/format.js";

// worries lists the problems in an answer of /v1/mesh, the worst first.
export function worries(mesh) {
  if (mesh.error?.status === 0) {
    return [{ level: "bad", what: "This node does not answer.", todo: "What the page shows is old. Open the page of another node." }];
  }
  const m = mesh.data;
  if (!m) return mesh.error ? [{ level: "bad", what: mesh.error.message, todo: "" }] : [];
  if (m.worries?.length) return m.worries.map((w) => ({ level: w.level === "ERROR" ? "bad" : "warn", what: w.message, todo: w.action ?? "" }));
  const list = [];
  const add = (level, what, todo) => list.push({ level, what, todo });
  if (!m.epoch) add("bad", "This node is not a member of a mesh yet.", "/readyz says what it waits for.");
  else if (!m.lease?.valid) add("bad", "This node has no valid lease, so it serves no locks.", "It is cut off from the majority of the voters.");
  if (m.diskError) add("bad", `This node cannot write its records: ${m.diskError}.`, "Free space or replace the disk. The node serves but does not vote.");
  if (m.quarantined) add("bad", `${plural(m.quarantined, "partition")} of this node in quarantine: every copy was lost.`, "Their keys are granted again when all old locks must have expired.");
  for (const s of m.seats ?? []) if (s.absent) add("warn", `The voter ${s.name || s.id} does not answer.`, "Start it again, or give up its seat: sharelock decommission.");
  for (const s of m.stalls ?? []) add("warn", `Waiting for ${s.member} without progress since ${s.waiting}.`, "Look at its log and at the network between the two.");
  if (m.members?.length > 1 && m.survivableLosses === 0 && list.length === 0) add("warn", "The loss of one more voter stops the mesh.", "Add a third node, or bring the absent one back.");
  return list;
}

export function Worries({ mesh }) {
  const list = worries(mesh);
  const n = mesh.data?.members?.length ?? 0;
  return html`<section class="worry" aria-label="What should worry you">
    <div aria-live="polite">
      ${list.length === 0 && mesh.data && html`<ul><li class="well"><span class="mark" aria-hidden="true">✓</span>
        <span>Nothing should worry you.</span><span class="todo">${plural(n, "member")}, all in the view of epoch ${mesh.data.epoch}.</span></li></ul>`}
      ${list.length === 0 && !mesh.data && html`<span class="quiet">Asking the node …</span>`}
      ${list.length > 0 && html`<ul>${list.map((w) => html`<li class=${w.level}><span class="mark" aria-hidden="true">!</span><strong>${w.what}</strong><span class="todo">${w.todo}</span></li>`)}</ul>`}
    </div>
  </section>`;
}
