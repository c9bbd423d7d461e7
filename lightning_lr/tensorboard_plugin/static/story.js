// One decision in full: the sentence, the change of the rate, the evidence, and what it brought. The hover box and the
// panel below the chart show the same.

import { named, shape } from "./conditions.js";
import { element, number } from "./dom.js";
import { evidence } from "./evidence.js";

export function story(timeline, decision) {
  const numbers = evidence(decision);
  const notes = decision.notes ?? [];
  return [
    element("div", { class: "story-head" },
      shape(decision),
      element("strong", {}, done(decision)),
      element("span", { class: "quiet" }, `decision ${decision.number} · check ${decision.check} · epoch ${decision.epoch} · step ${decision.step}`)),
    element("p", { class: "reason" }, decision.reason),
    ...notes.map((note) => element("p", { class: "note" }, note)),
    numbers.length ? element("h4", {}, "Evidence") : null,
    element("dl", {}, numbers.map(([what, much]) => element("div", {}, element("dt", {}, what), element("dd", {}, much)))),
    ...brought(timeline.reviews.get(decision.check), decision),
  ].filter((node) => node !== null);
}

// The engine's review, known some checks later; nothing where none is to come.
function brought(review, decision) {
  if (!review && !decision.reviewed) return [];
  const line = review ? `${review.brought}; known at check ${review.at}.` : "Not known yet: too few checks have followed.";
  return [element("h4", {}, "What it brought"), element("p", { class: "brought" }, line)];
}

// "plateau → restore"; "search" alone, since nothing else was the matter.
export function done(decision) {
  const name = named(decision);
  return decision.condition === "healthy" ? name : `${name} → ${decision.action}`;
}

// "0.1 → 0.05", of the first group where all changed alike.
export function change(decision) {
  const names = Object.keys(decision.new_lr ?? {});
  if (!names.length) return "–";
  const [name] = names;
  if (decision.action === "anneal") return `${number(decision.old_lr[name])} → 0 at the end`;
  const more = names.length > 1 ? ` (+${names.length - 1})` : "";
  return `${number(decision.old_lr[name])} → ${number(decision.new_lr[name])}${more}`;
}
