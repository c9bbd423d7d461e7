// What happened after a decision, in a sentence or two: how each metric moved until the next one, and how fast it
// moved before.

import { count, number } from "./dom.js";

const NEAR = 20; // checks on either side that count as before and after

export function afterwards(timeline, decision) {
  const { checks, decisions, monitors, train } = timeline;
  const here = checks.findIndex((check) => check.check === decision.check);
  if (here < 0) return ["Nothing is known of the checks around it."];
  const place = decisions.indexOf(decision);
  const following = decisions[place + 1];
  const from = place > 0 ? checks.findIndex((check) => check.check === decisions[place - 1].check) : 0;
  const found = following ? checks.findIndex((check) => check.check === following.check) : -1;
  const to = found < 0 ? checks.length - 1 : found;
  if (to === here) return ["No check has followed yet."];
  const until = following ? "until the next decision" : "so far";
  const lines = [`${count(to - here, "check")} ${until}.`];
  const series = monitors.map((name) => [name, (check) => check.metrics[name]]);
  if (train) series.push([train, (check) => check.train]);
  for (const [name, value] of series) {
    const after = points(checks.slice(here, Math.min(to, here + NEAR) + 1), value);
    const before = points(checks.slice(Math.max(from, here - NEAR), here + 1), value);
    if (after.length < 2) continue;
    const [first, last] = [after[0][1], after.at(-1)[1]];
    const part = to > here + NEAR ? ` in the first ${NEAR}` : "";
    let line = `${name}: ${number(first)} → ${number(last)}${part}, ${signed(slope(after))} a check`;
    if (before.length > 2) line += ` (before: ${signed(slope(before))})`;
    lines.push(`${line}.`);
  }
  return lines;
}

const points = (checks, value) =>
  checks.map((check) => [check.check, value(check)]).filter(([, y]) => typeof y === "number");

// Least squares; the change of the value from one check to the next.
function slope(points) {
  const mean = (i) => points.reduce((sum, point) => sum + point[i], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const spread = points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
  return points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0) / spread;
}

const signed = (value) => (value > 0 ? "+" : value < 0 ? "−" : "±") + number(Math.abs(value));
