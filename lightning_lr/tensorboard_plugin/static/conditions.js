// How each condition looks: the colour and the shape that its detector has, so that neither has to be told apart alone.
// A decision brings both: they are chosen in lightning_lr/engine/detectors, for white paper; on dark they are lightened.

import { svg } from "./dom.js";

// plotly's name of a shape → the same shape in a box of 16 by 16
const PATHS = {
  circle: "M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12z",
  square: "M2.5 2.5h11v11h-11z",
  "triangle-up": "M8 1.5L14.5 13h-13z",
  diamond: "M8 1L15 8L8 15L1 8z",
  x: "M3.5 1L8 5.5L12.5 1L15 3.5L10.5 8L15 12.5L12.5 15L8 10.5L3.5 15L1 12.5L5.5 8L1 3.5z",
  cross: "M6 1h4v5h5v4h-5v5H6v-5H1V6h5z",
  hourglass: "M2 2h12L2 14h12z",
  "triangle-right": "M2.5 1.5v13L14.5 8z",
  pentagon: "M8 1.2l6.8 5l-2.6 8h-8.4l-2.6-8z",
  star: "M8 .8l2.1 4.8 5.2.5-3.9 3.4 1.1 5.1L8 12l-4.5 2.6 1.1-5.1L.7 6.1l5.2-.5z",
  "diamond-open": "M8 1L15 8L8 15L1 8zM8 3.8L3.8 8L8 12.2L12.2 8z",
  "triangle-down-open": "M1.5 3h13L8 14.5zM4.6 4.8L8 10.9L11.4 4.8z",
  "circle-open": "M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12zm0 2.4a3.6 3.6 0 1 1 0 7.2a3.6 3.6 0 1 1 0-7.2z",
};

const hex = (color) => (/^#[0-9a-f]{6}$/i.test(color) ? color : "#5a6470");

// Half way to white.
const lightened = (color) =>
  `#${[1, 3, 5].map((at) => Math.round((parseInt(hex(color).slice(at, at + 2), 16) + 255) / 2).toString(16)).join("")}`;

export const colour = ({ color }, dark) => (dark ? lightened(color) : hex(color));

export const symbol = ({ mark }) => (Object.hasOwn(PATHS, mark) ? mark : "circle-open");

export const words = (condition) => String(condition).replaceAll("_", " ");

// What a decision is called: its condition, or what was done where there is none, as "search" and "anneal".
export const named = (decision) => words(decision.kind ?? decision.condition);

// The shape for legend, table and hover box; it follows the theme by itself.
export function shape(decision) {
  const path = svg("path", { d: PATHS[symbol(decision)], "fill-rule": "evenodd" });
  const box = svg("svg", { viewBox: "0 0 16 16", class: "shape", "aria-hidden": "true" }, path);
  box.style.setProperty("--on-light", colour(decision, false));
  box.style.setProperty("--on-dark", colour(decision, true));
  return box;
}
