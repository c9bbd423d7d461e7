// The numbers behind a decision as people read them: a name in words, and a unit. What is not in the table reads as its
// own name, with the unit that its last word implies.

import { words } from "./conditions.js";
import { count, number } from "./dom.js";

// name → what it is called, what it counts; null for what only the journal needs
const NAMES = {
  score: ["test statistic", ""],
  threshold: ["threshold", ""],
  // a stall
  checks: ["over", "check"],
  since_best: ["since the best", "check"],
  best: ["best value", ""],
  best_check: ["best at check", ""],
  by_ages: ["probability by the age of the best", "share"],
  last_half: ["of all gain, in the last half of the run", "share"],
  known_checks: null,
  fewest: null,
  slope: ["slope a check", ""],
  window: ["window", "check"],
  // overfitting
  overfitting: ["probability of overfitting", "share"],
  value: ["newest value", ""],
  rise: ["rise above the best", "deviation"],
  training_trend: ["trend of the training loss (below 0 falls)", "deviation"],
  trend: ["trend of the monitor since its best (above 0 is worse)", "deviation"],
  // divergence
  before: ["level before", ""],
  level: ["level now", ""],
  height: ["rise", "deviation"],
  lost: ["lost, of all that was gained", "share"],
  gained: ["it had gained before", "fact"],
  above_start: ["above the loss before training", "fact"],
  start: ["loss before training", ""],
  witness_height: ["rise of validation", "deviation"],
  witness_level: ["validation now", ""],
  witness_start: ["validation before training", ""],
  // a loss spike
  peak: ["highest loss", ""],
  median: ["median loss", ""],
  deviation: ["one deviation", ""],
  // values that are NaN or infinite
  non_finite_steps: ["NaN or infinite losses in", "step"],
  non_finite_checks: ["NaN or infinite values at", "check"],
  // the probes
  critical_ratio: ["critical ratio", ""],
  room: ["critical ratio needed", ""],
  far: ["critical ratio needed", ""],
  update_ratio: ["update / weight", "share"],
  low: ["update / weight below", "share"],
  flip_rate: ["neurons that change", "share"],
  flip_rate_before: ["neurons that changed before", "share"],
  output_change: ["change of the output", "share"],
  failed_adjustments: ["adjustments without effect", ""],
  gradient_disparity_lowest: ["lowest gradient disparity", ""],
  // a search
  estimate: ["best rate, in units of the one given", ""],
  gain: ["fall of the loss there", ""],
  spread: ["spread from batch to batch", ""],
};

// {name: value} → [[what, how much]]; an error stands behind its value, and the ways that say yes in one place. A
// detector that states a probability has it as its score.
export function evidence({ evidence: numbers = {}, probabilities = {}, condition }) {
  const stated = condition in probabilities ? { score: ["probability", "share"], threshold: ["needed to act", "share"] } : {};
  const found = Object.entries(numbers);
  const ways = found.filter(([name, value]) => bare(name).startsWith("way_") && value === 1).map(([name]) => words(bare(name).slice(4)));
  const rest = found
    .filter(([name]) => !bare(name).endsWith("_error") && !bare(name).startsWith("way_") && NAMES[bare(name)] !== null)
    .map(([name, value]) => {
      const [what, unit] = stated[bare(name)] ?? NAMES[bare(name)] ?? guess(bare(name));
      const error = numbers[name.replace(/^[^/]*/, "$&_error")];
      return [series(name) ? `${what} (${series(name)})` : what, said(value, unit) + (error === undefined ? "" : ` ± ${number(error)}`)];
    });
  return ways.length ? [["signs of it", [...new Set(ways)].join(", ")], ...rest] : rest;
}

const bare = (name) => name.split("/")[0];
const series = (name) => name.split("/").slice(1).join("/");

function guess(name) {
  if (name.startsWith("loss at ")) return [`${name} × the rate given`, ""];
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
  return unit ? count(Number(value.toPrecision(3)), unit) : number(value);
}
