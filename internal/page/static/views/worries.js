// What an operator should know first: one sentence for each condition of the mesh.
import { html } from "../vendor/preact.js";
import { age, millis, plural } from "../lib/format.js";

// worries lists what is wrong according to an answer of /v1/mesh, severe conditions first. The sentences
// are those of the node, as in its log, /readyz and sharelock members.
export function worries(mesh) {
  if (mesh.error?.status === 0) {
    return [{ level: "bad", what: "This node does not answer.", more: "What the page shows is old. Open the page of another node." }];
  }
  if (!mesh.data) return mesh.error ? [{ level: "bad", what: mesh.error.message, more: "" }] : [];
  const list = (mesh.data.conditions ?? []).map((c) => ({ level: c.severe ? "bad" : "warn", what: c.message, more: "" }));
  for (const s of mesh.data.seats ?? []) {
    // The node reports the condition itself when it has lasted for a while.
    if (s.absent && !(mesh.data.conditions ?? []).some((c) => c.subject === s.id)) {
      list.push({ level: "warn", what: `The voter ${s.name || s.id} is not in the view.`, more: `${plural(mesh.data.survivableLosses ?? 0, "more voter")} may fail before the mesh stops.` });
    }
  }
  for (const s of mesh.data.stalls ?? []) {
    list.push({ level: "warn", what: `This node has waited for ${s.member} without progress for ${age(millis(s.waiting))}.`, more: "Look at its log and at the network between the two." });
  }
  return list.sort((a, b) => (a.level === "bad" ? 0 : 1) - (b.level === "bad" ? 0 : 1));
}

export function Worries({ mesh }) {
  const list = worries(mesh);
  const n = mesh.data?.members?.length ?? 0;
  return html`<section class="worry" aria-label="What should worry you">
    <div aria-live="polite">
      ${list.length === 0 && mesh.data && html`<ul><li class="well"><span class="mark" aria-hidden="true">✓</span>
        <span>Nothing should worry you.</span><span class="todo">${plural(n, "member")}, all in the view of epoch ${mesh.data.epoch}.</span></li></ul>`}
      ${list.length === 0 && !mesh.data && html`<span class="quiet">Asking the node …</span>`}
      ${list.length > 0 && html`<ul>${list.map((w) => html`<li class=${w.level}><span class="mark" aria-hidden="true">!</span><span>${w.what}</span>${w.more && html`<span class="todo">${w.more}</span>`}</li>`)}</ul>`}
    </div>
  </section>`;
}
