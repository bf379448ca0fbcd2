// Calls of the node's HTTP API. All paths are relative, so the page works behind a prefix.

// base is the path under which the node serves this page, without the last slash.
const base = new URL("..", new URL("..", import.meta.url)).pathname.replace(/\/$/, "");

// ApiError is an answer with an error body, or no answer (status 0).
export class ApiError extends Error {
  constructor(status, reason, message, details) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.details = details;
  }
}

// signedOut is called after an answer that says that credentials are needed.
let signedOut = () => {};
export const onSignedOut = (f) => { signedOut = f; };

export const keyPath = (key) => "/v1/locks/" + encodeURIComponent(key);
export const historyPath = (key) => "/v1/history/" + encodeURIComponent(key);

export const url = (path) => base + path;

// call sends one request and returns the decoded answer.
export async function call(method, path, body, signal) {
  let answer;
  try {
    answer = await fetch(url(path), {
      method, signal, credentials: "same-origin", cache: "no-store",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new ApiError(0, "UNREACHABLE", "This node does not answer.");
  }
  const text = await answer.text();
  let data = {};
  try { data = text ? JSON.parse(text) : {}; } catch { /* an answer that is not ours */ }
  if (answer.ok) return data;
  const e = data.error ?? {};
  if (answer.status === 401) signedOut();
  throw new ApiError(answer.status, e.reason ?? "", e.message ?? answer.statusText, e.details);
}

export const get = (path, signal) => call("GET", path, undefined, signal);

// changes are the SSE event types that carry a change of a key.
const changes = ["acquired", "released", "expired", "forced", "queued", "left_queue", "moved", "snapshot"];

// watch follows /v1/events. It calls on(type, event) for each event, and state("live" | "connecting" |
// "refused") when the connection changes.
export function watch(query, on, state) {
  const source = new EventSource(url("/v1/events?" + new URLSearchParams(query)));
  for (const type of [...changes, "synced", "reset"]) {
    source.addEventListener(type, (m) => {
      let data = {};
      try { data = m.data ? JSON.parse(m.data) : {}; } catch { return; }
      on(type, data);
    });
  }
  // A stream that was opened again tells everything afresh.
  let opened = false;
  source.onopen = () => {
    if (opened) on("reset", {});
    opened = true;
    state("live");
  };
  source.onerror = () => state(source.readyState === EventSource.CLOSED ? "refused" : "connecting");
}
