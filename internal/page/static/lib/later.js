// The page draws what has come by itself at most ten times a second, all of it at once.

const pause = 100;
let waiting = [];
let last = -pause;

// later calls update, which changes what a view shows, with the other updates before the browser draws.
export function later(update) {
  waiting.push(update);
  if (waiting.length > 1) return;
  setTimeout(() => requestAnimationFrame(run), Math.max(0, pause - (performance.now() - last)));
}

function run() {
  last = performance.now();
  const updates = waiting;
  waiting = [];
  for (const update of updates) update();
}
