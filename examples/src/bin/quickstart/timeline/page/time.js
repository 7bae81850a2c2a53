// Instants, lengths of time, and the scale of the lanes.

// The latest instant that a browser can show.
const LAST = 8.64e15;
let zone = "utc";

const two = (number) => String(number).padStart(2, "0");

function parts(ms) {
  const date = new Date(ms);
  const utc = zone === "utc";
  const offset = utc ? 0 : -date.getTimezoneOffset();
  const shifted = new Date(ms + offset * 60000).toISOString();
  const [day, rest] = shifted.split("T");
  const sign = offset < 0 ? "-" : "+";
  const name = utc ? "UTC" : sign + two(Math.floor(Math.abs(offset) / 60)) + ":" + two(Math.abs(offset) % 60);
  return { day, clock: rest.slice(0, 12), name };
}

function day(ms) {
  return ms > LAST - 1e8 ? "never" : parts(ms).day;
}

function clock(ms) {
  return ms > LAST - 1e8 ? "never" : parts(ms).clock;
}

function stamp(ms) {
  if (ms > LAST - 1e8) return "never";
  const { day, clock, name } = parts(ms);
  return day + " " + clock + " " + name;
}

// An instant for people and machines.
function at(ms) {
  const machine = ms > LAST - 1e8 ? undefined : new Date(ms).toISOString();
  return el("time", { datetime: machine }, stamp(ms));
}

function lasting(ms) {
  if (ms < 1000) return Math.round(ms) + " ms";
  if (ms < 60000) return (ms / 1000).toFixed(ms < 10000 ? 2 : 1) + " s";
  const minutes = Math.floor(ms / 60000);
  if (minutes < 60) return minutes + " min " + Math.floor((ms % 60000) / 1000) + " s";
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return hours + " h " + (minutes % 60) + " min";
  return Math.floor(hours / 24) + " d " + (hours % 24) + " h";
}

// Where instants stand, from 0 to 1. A gap in which nothing happened for much longer than usual is folded: it grows
// with the logarithm of its length, and is named.
function scaleOf(instants, folded) {
  const points = Array.from(new Set(instants)).sort((a, b) => a - b);
  const gaps = points.slice(1).map((point, place) => point - points[place]);
  const usual = Math.max(2, 2 * (gaps.slice().sort((a, b) => a - b)[Math.floor(gaps.length * 0.8)] ?? 0));
  const width = (gap) => (folded && gap > usual ? usual * (1 + Math.log10(gap / usual)) : gap);
  const starts = [0];
  for (const gap of gaps) starts.push(starts[starts.length - 1] + width(gap));
  const whole = starts[starts.length - 1] || 1;
  const of = (instant) => {
    let low = 0;
    let high = points.length - 1;
    if (high < 0 || instant <= points[0]) return 0;
    if (instant >= points[high]) return starts[high] / whole;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle] <= instant) low = middle;
      else high = middle;
    }
    const share = (instant - points[low]) / (points[high] - points[low]);
    return (starts[low] + share * (starts[high] - starts[low])) / whole;
  };
  const ticks = [];
  for (const [place, point] of points.entries()) {
    const x = starts[place] / whole;
    if (ticks.length === 0 || x - ticks[ticks.length - 1].x > (x > 0.9 ? 0.28 : 0.14))
      ticks.push({ x, after: point - points[0] });
  }
  const folds = gaps
    .map((gap, place) => ({ gap, from: starts[place] / whole, to: starts[place + 1] / whole }))
    .filter((fold) => folded && fold.gap > 4 * usual && fold.to - fold.from > 0.02);
  return { of, ticks, folds };
}
