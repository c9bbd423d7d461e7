// The numbers behind a decision as people read them: a name in words, and a unit. What is not in the table reads as its
// own name, with the unit that its last word implies.

import { words } from "./conditions.js";
import { count, number } from "./dom.js";

// name → what it is called, what it counts
const NAMES = {
  score: ["test statistic", ""],
  threshold: ["needed for a yes", ""],
  since_best: ["since the best", "check"],
  best: ["best value", ""],
  best_check: ["best at check", ""],
  slope: ["slope a check", ""],
  window: ["window", "check"],
  non_finite_steps: ["NaN or infinite losses in", "step"],
  non_finite_checks: ["NaN or infinite values at", "check"],
  critical_ratio: ["critical ratio", ""],
  update_ratio: ["update / weight", ""],
  flip_rate: ["neurons that change", "share"],
  output_change: ["change of the output", "share"],
  checks: ["over", "check"],
};

// {name: value} → [[what, how much]]; an error stands behind its value, and the ways that say yes in one place.
export function evidence(numbers) {
  const found = Object.entries(numbers);
  const ways = found.filter(([name, value]) => bare(name).startsWith("way_") && value === 1).map(([name]) => words(bare(name).slice(4)));
  const rest = found
    .filter(([name]) => !bare(name).endsWith("_error") && !bare(name).startsWith("way_"))
    .map(([name, value]) => {
      const [what, unit] = NAMES[bare(name)] ?? guess(bare(name));
      const error = numbers[name.replace(/^[^/]*/, "$&_error")];
      return [series(name) ? `${what} (${series(name)})` : what, said(value, unit) + (error === undefined ? "" : ` ± ${number(error)}`)];
    });
  return ways.length ? [["signs of it", [...new Set(ways)].join(", ")], ...rest] : rest;
}

const bare = (name) => name.split("/")[0];
const series = (name) => name.split("/").slice(1).join("/");

function guess(name) {
  if (name.endsWith("_check")) return [words(name.replace(/_check$/, " at check")), ""];
  if (/_checks$|^since_/.test(name)) return [words(name.replace(/_checks$/, "")), "check"];
  if (/(^|_)steps$/.test(name)) return [words(name.replace(/_?steps$/, "")) || "over", "step"];
  if (/_is_|^is_|stands_still$/.test(name)) return [words(name), "fact"];
  return [words(name), ""];
}

function said(value, unit) {
  if (typeof value !== "number") return number(value);
  if (unit === "fact") return value ? "yes" : "no";
  if (unit === "share") return `${number(100 * value)} %`;
  return unit ? count(value, unit) : number(value);
}
