// The formats of numbers and times on the page.

// millis converts a duration of the API, "1.5s", to milliseconds.
export const millis = (text) => (text ? parseFloat(text) * 1000 : 0);

// age formats a duration in milliseconds with at most two units.
export function age(ms) {
  if (ms < 0) ms = 0;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m} min ${Math.floor(s % 60)} s`;
  const h = Math.floor(m / 60);
  if (h < 48) return `${h} h ${m % 60} min`;
  return `${Math.floor(h / 24)} d ${h % 24} h`;
}

const numbers = new Intl.NumberFormat("en");
export const count = (n) => numbers.format(n ?? 0);

// rate formats a number per second.
export const rate = (n) => (n >= 100 ? count(Math.round(n)) : (n ?? 0).toFixed(1));

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
export const time = (t) => clock.format(new Date(t));

export const plural = (n, one, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;
