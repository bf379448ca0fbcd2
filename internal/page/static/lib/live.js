// Hooks that keep a view current.
import { useEffect, useRef, useState } from "../vendor/preact.js";
import { get, watch } from "./api.js";

// usePoll reads a path every ms milliseconds while the page is visible, and again at once when
// trigger changes. Answers that come out of order are dropped.
export function usePoll(path, ms, trigger = 0) {
  const [result, set] = useState({ data: null, error: null, at: 0 });
  useEffect(() => {
    if (!path) return undefined;
    const ending = new AbortController();
    let timer = 0;
    let stopped = false;
    const read = async () => {
      timer = 0;
      if (document.visibilityState !== "hidden") {
        try {
          const data = await get(path, ending.signal);
          if (!stopped) set({ path, data, error: null, at: performance.now() });
        } catch (error) {
          if (stopped || error.name === "AbortError") return;
          // What was known stays on the page, with the error.
          set((old) => ({ path, data: old.path === path && error.status === 0 ? old.data : null, error, at: performance.now() }));
        }
      }
      if (!stopped) timer = setTimeout(read, ms);
    };
    read();
    return () => { stopped = true; ending.abort(); clearTimeout(timer); };
  }, [path, ms, trigger]);
  return result;
}

// useWatch follows events; apply(list) is called at most ten times a second. It returns the state of
// the connection.
export function useWatch(query, apply) {
  const [state, setState] = useState("connecting");
  const current = useRef(apply);
  current.current = apply;
  const id = query && JSON.stringify(query);
  useEffect(() => {
    if (!id) return undefined;
    setState("connecting");
    return watch(JSON.parse(id), (list) => current.current(list), setState);
  }, [id]);
  return state;
}

// useTick makes a view render again every ms milliseconds, for times that grow.
export function useTick(ms) {
  const [, set] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => { if (document.visibilityState !== "hidden") set((n) => n + 1); }, ms);
    return () => clearInterval(timer);
  }, [ms]);
}
