// How each condition looks: a colour and a shape, so that neither has to be told apart alone. The colours are those of
// Okabe and Ito, which hold for all common kinds of colour blindness; darker on white where the original is too pale.

import { svg } from "./dom.js";

// condition → [colour on white, colour on dark, plotly's name of the shape, the same shape in a box of 16 by 16]
const LOOKS = {
  plateau: ["#0072b2", "#4ea8de", "circle", "M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12z"],
  overfitting: ["#c77f00", "#f0b429", "square", "M2.5 2.5h11v11h-11z"],
  divergence: ["#d55e00", "#ff7f3f", "triangle-up", "M8 1.5L14.5 13h-13z"],
  loss_spike: ["#b0568f", "#e39ac7", "diamond", "M8 1L15 8L8 15L1 8z"],
  non_finite: ["#111111", "#ffffff", "x", "M3.5 1L8 5.5L12.5 1L15 3.5L10.5 8L15 12.5L12.5 15L8 10.5L3.5 15L1 12.5L5.5 8L1 3.5z"],
  oscillation: ["#2e8fc4", "#8fd0f5", "hourglass", "M2 2h12L2 14h12z"],
  slow_progress: ["#007a5a", "#33c79a", "triangle-right", "M2.5 1.5v13L14.5 8z"],
  incoherence: ["#7a4ab0", "#bfa0ea", "pentagon", "M8 1.2l6.8 5l-2.6 8h-8.4l-2.6-8z"],
  improving: ["#00704f", "#5be0b3", "star", "M8 .8l2.1 4.8 5.2.5-3.9 3.4 1.1 5.1L8 12l-4.5 2.6 1.1-5.1L.7 6.1l5.2-.5z"],
  healthy: ["#5a6470", "#aab4c0", "circle-open", "M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12zm0 2.4a3.6 3.6 0 1 1 0 7.2a3.6 3.6 0 1 1 0-7.2z"],
};

export const CONDITIONS = Object.keys(LOOKS);

const look = (condition) => LOOKS[Object.hasOwn(LOOKS, condition) ? condition : "healthy"];

export const colour = (condition, dark) => look(condition)[dark ? 1 : 0];

export const symbol = (condition) => look(condition)[2];

export const words = (condition) => String(condition).replaceAll("_", " ");

// The shape for legend, table and hover box; it follows the theme by itself.
export function shape(condition) {
  const [light, dark, , path] = look(condition);
  const box = svg("svg", { viewBox: "0 0 16 16", class: "shape", "aria-hidden": "true" }, svg("path", { d: path }));
  box.style.setProperty("--on-light", light);
  box.style.setProperty("--on-dark", dark);
  return box;
}
