// Hooks that keep a view current.
import { useEffect, useRef, useState } from "../vendor/preact.js";
import { get } from "./api.js";
import { later } from "./later.js";

// usePoll reads a path every ms milliseconds while the page is visible, and sooner when trigger
// changes: a tenth of ms after the last time, and never while an answer is outstanding.
export function usePoll(path, ms, trigger = 0) {
  const [result, set] = useState({ data: null, error: null, at: 0 });
  const soon = useRef(() => {});
  useEffect(() => {
    if (!path) return undefined;
    const ending = new AbortController();
    let timer = 0;
    let began = 0;
    let reading = false;
    let again = false;
    const show = (next) => later(() => { if (!ending.signal.aborted) set(next); });
    const plan = (wait) => {
      clearTimeout(timer);
      timer = setTimeout(read, wait);
    };
    const read = async () => {
      if (document.visibilityState !== "hidden") {
        reading = true;
        again = false;
        began = performance.now();
        try {
          const data = await get(path, ending.signal);
          show({ path, data, error: null, at: performance.now() });
        } catch (error) {
          if (error.name === "AbortError") return;
          const at = performance.now();
          // What was known stays on the page, marked by the error.
          show((old) => ({ path, data: old.path === path && error.status === 0 ? old.data : null, error, at }));
        }
        reading = false;
      }
      if (!ending.signal.aborted) plan(again ? sooner() : ms);
    };
    const sooner = () => Math.max(0, ms / 10 - (performance.now() - began));
    soon.current = () => {
      again = true;
      if (!reading) plan(sooner());
    };
    read();
    return () => { soon.current = () => {}; ending.abort(); clearTimeout(timer); };
  }, [path, ms]);
  useEffect(() => { if (trigger) soon.current(); }, [trigger]);
  return result;
}

// useFeed follows the events of a query with a model of worker.js. It returns the model's answer to
// asked, with the state of the connection, or null before the first; when asked changes, the last
// answer stays until there is a new one.
export function useFeed(model, query, asked) {
  const [answer, set] = useState(null);
  const worker = useRef(null);
  const number = useRef(0);
  const id = JSON.stringify(query);
  useEffect(() => {
    const w = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    worker.current = w;
    let drawn = 0;
    const draw = (data) => {
      if (worker.current !== w) return;
      set(data);
      w.postMessage({ what: "next" });
    };
    w.onmessage = ({ data }) => {
      // The first answer to what the user has just asked for does not wait for other updates, nor is
      // it replaced by an earlier answer that waits for them.
      if (data.number === drawn) { later(() => { if (data.number === drawn) draw(data); }); return; }
      drawn = data.number;
      draw(data);
    };
    w.postMessage({ what: "open", model, query: JSON.parse(id) });
    return () => { w.terminate(); worker.current = null; };
  }, [model, id]);
  const wanted = JSON.stringify(asked);
  useEffect(() => { worker.current.postMessage({ what: "ask", asked: JSON.parse(wanted), number: ++number.current }); }, [model, id, wanted]);
  return answer;
}

// useTick makes a view render again every ms milliseconds, for times that grow.
export function useTick(ms) {
  const [, set] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => { if (document.visibilityState !== "hidden") later(() => set((n) => n + 1)); }, ms);
    return () => clearInterval(timer);
  }, [ms]);
}
