// The picture of one timeline, for plotly: curves above, learning rate below, how probable each condition is between
// them, a mark on both curves at each decision, and a thin line through both. Plotly draws and zooms; what the pointer says is shown by hover.js.

import { colour, named, symbol } from "./conditions.js";

const LINES = 150; // more decisions than this, and their lines would be a wall

// Theme → colours of what is no condition.
const INK = {
  light: { text: "#3c4043", grid: "#e3e6ea", axis: "#9aa0a6", curves: ["#202124", "#8a5a00", "#6b4fa0"], train: "#7d8590", state: "#188038", rates: ["#0b57d0", "#a8327d", "#00695c", "#7a5c00"] },
  dark: { text: "#e8eaed", grid: "#3a3d40", axis: "#80868b", curves: ["#f1f3f4", "#f5c26b", "#c5b3f0"], train: "#9aa0a6", state: "#81c995", rates: ["#8ab4f8", "#f5a3d3", "#6fd6c5", "#e3c56b"] },
};

export const ink = (dark) => INK[dark ? "dark" : "light"];

const DASHES = ["solid", "dash", "dot"];

// Plotly reads a few tags in a name; here it finds none.
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// Name, colour and dash of every curve, in the order in which the legend lists them.
export function curves(timeline, dark) {
  const { curves: tops, rates, train } = ink(dark);
  const found = timeline.monitors.map((name, i) => ({
    name, colour: tops[i % tops.length], dash: DASHES[Math.floor(i / tops.length) % 3], value: (check) => check.metrics[name],
  }));
  if (timeline.train) found.unshift({ name: timeline.train, colour: train, dash: "solid", value: (check) => check.train });
  const below = timeline.rates.map((name, i) => ({
    name, colour: rates[i % rates.length], dash: DASHES[Math.floor(i / rates.length) % 3], value: (check) => check.rates[name],
  }));
  return { above: found, below };
}

export function figure(timeline, { x, logarithmic, dark, ranges }) {
  const { checks, decisions } = timeline;
  const at = checks.map((check) => check[x]);
  const { above, below } = curves(timeline, dark);
  const data = [
    ...above.map((curve) => line(curve, at, checks.map(curve.value), "y")),
    ...below.map((curve) => rateLine(curve, timeline, x)),
    ...(decisions.length <= LINES ? lines(decisions, x, dark) : []),
    ...strip(timeline, x, dark),
    ...states(timeline, x, above, dark),
    ...marks(timeline, x, above, dark),
  ];
  const rates = checks.flatMap((check) => Object.values(check.rates)).concat(Object.values(timeline.before));
  const metrics = checks.flatMap((check) => above.map((curve) => curve.value(check)));
  const fixed = (axis) => (ranges?.[axis] ? { range: ranges[axis] } : {});
  const scales = { x: fixed("x"), above: { ...(logarithmic ? powers(metrics) : {}), ...fixed("above") }, below: { ...powers(rates), ...fixed("below") } };
  return { data, layout: layout({ x, logarithmic, dark, ranges, strip: timeline.probabilities.size > 0 }, scales) };
}

function line({ name, colour: color, dash }, x, y, yaxis) {
  return { type: "scatter", mode: "lines", name: plain(name), x, y, yaxis, line: { color, dash, width: 1.6 }, connectgaps: true };
}

// A staircase: what a check sets holds until the next one. It begins with the rate before the first check.
function rateLine(curve, timeline, x) {
  const { checks, before } = timeline;
  const [first] = checks;
  const xs = [first.check === 0 ? 0 : first[x], ...checks.map((check) => check[x])];
  const ys = [before[curve.name] ?? curve.value(first), ...checks.map(curve.value)];
  const kept = ys.map((y, i) => i === 0 || i === ys.length - 1 || y !== ys[i - 1] || y !== ys[i + 1]);
  const drawn = line(curve, xs.filter((_, i) => kept[i]), ys.filter((_, i) => kept[i]), "y2");
  return { ...drawn, line: { ...drawn.line, shape: "hv", width: 1.8 } };
}

function lines(decisions, x, dark) {
  return byCondition(decisions).flatMap(([, found]) =>
    ["y3", "y4"].map((yaxis) => ({
      type: "scatter", mode: "lines", yaxis, opacity: 0.4, line: { color: colour(found[0], dark), width: 1 },
      x: found.flatMap((decision) => [decision[x], decision[x], null]),
      y: found.flatMap(() => [0, 1, null]),
    })),
  );
}

function marks(timeline, x, above, dark) {
  const size = timeline.decisions.length > 100 ? 8 : 11;
  const rate = heights(timeline, (check) => Object.values(check.rates)[0]);
  const metric = new Map([...above, NO_CURVE].map((curve) => [curve, heights(timeline, curve.value)]));
  return byCondition(timeline.decisions).flatMap(([name, found]) => {
    const style = {
      type: "scatter", mode: "markers", name: plain(name), x: found.map((decision) => decision[x]), cliponaxis: false,
      marker: { color: colour(found[0], dark), symbol: symbol(found[0]), size, line: { color: dark ? "#1f2022" : "#fff", width: 1.2 } },
    };
    if (style.marker.symbol.endsWith("-open")) style.marker.line = { width: 2, color: style.marker.color };
    return [
      { ...style, yaxis: "y", y: found.map((decision) => metric.get(curveOf(timeline, above, decision))(decision.check)) },
      { ...style, yaxis: "y2", y: found.map((decision) => rate(decision.check)) },
    ];
  });
}

const NO_CURVE = { value: () => null };

// The curve that a decision was found on; the first monitor's where that is not drawn.
function curveOf(timeline, above, { on }) {
  return above.find(({ name }) => name === on) ?? above.find(({ name }) => name !== timeline.train) ?? above[0] ?? NO_CURVE;
}

// Check → height of a curve there; null where the check brought no value, as the end of a search: it belongs to the rate.
function heights(timeline, values) {
  const known = new Map(timeline.checks.map((check) => [check.check, values(check)]));
  return (check) => known.get(check) ?? null;
}

// Rings on the first monitor's curve: its best check, and the checks that were restored.
function states(timeline, x, above, dark) {
  const height = heights(timeline, curveOf(timeline, above, {}).value);
  const at = new Map(timeline.checks.map((check) => [check.check, check[x]]));
  return stateMarks(timeline, dark).map(({ name, checks, color, symbol: ring }) => ({
    type: "scatter", mode: "markers", name, yaxis: "y", x: checks.map((check) => at.get(check)), y: checks.map(height), cliponaxis: false,
    marker: { color, symbol: ring, size: 17, line: { width: 2, color } },
  }));
}

// Name, colour and symbol of the states that are marked; the legend lists them too.
export function stateMarks(timeline, dark) {
  const there = new Set(timeline.checks.map(({ check }) => check));
  const restored = timeline.decisions.map((decision) => decision.snapshot_check).filter((check) => there.has(check));
  const color = ink(dark).state;
  return [
    { name: "best check", checks: there.has(timeline.best) ? [timeline.best] : [], color, symbol: "circle-open" },
    { name: "restored", checks: [...new Set(restored)], color, symbol: "square-open" },
  ].filter(({ checks }) => checks.length);
}

// How probable each condition is, from 0 to 1, between the two panels. Plotly fills across a gap, so the area is a trace
// of its own, of no height where nothing is stated.
function strip(timeline, x, dark) {
  return [...timeline.probabilities].flatMap(([name, color]) => {
    const drawn = colour({ color }, dark);
    const stated = timeline.checks.map((check) => check.probabilities[name] ?? null);
    const common = { type: "scatter", mode: "lines", name: plain(name), x: timeline.checks.map((check) => check[x]), yaxis: "y5", connectgaps: false };
    return [
      { ...common, y: stated.map((value) => value ?? 0), line: { width: 0, shape: "hv" }, fill: "tozeroy", fillcolor: `${drawn}33` },
      { ...common, y: stated, line: { color: drawn, width: 1.4, shape: "hv" } },
    ];
  });
}

// What they are called → the decisions.
export function byCondition(decisions) {
  const found = new Map();
  for (const decision of decisions) {
    const name = named(decision);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(decision);
  }
  return [...found];
}

function layout({ x, logarithmic, dark, ranges, strip }, scales) {
  const { text, grid, axis } = ink(dark);
  const common = { gridcolor: grid, linecolor: axis, tickcolor: axis, zeroline: false, showline: true, ticks: "outside", ticklen: 4 };
  const hidden = { range: [0, 1], fixedrange: true, visible: false };
  return {
    uirevision: `${x} ${logarithmic} ${Boolean(ranges)}`, // zoom stays while a run goes on
    showlegend: false, hovermode: false, dragmode: "zoom", autosize: true,
    margin: { l: 70, r: 14, t: 28, b: 46 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: axis, activecolor: text },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "Roboto, 'Helvetica Neue', Arial, sans-serif", size: 12, color: text },
    xaxis: { ...common, anchor: "y2", title: { text: x, standoff: 8 }, rangemode: "tozero", ...scales.x },
    yaxis: { ...common, domain: [strip ? 0.4 : 0.38, 1], type: logarithmic ? "log" : "linear", title: { text: "metrics", standoff: 8 }, ...scales.above },
    yaxis2: { ...common, domain: [0, strip ? 0.25 : 0.33], type: "log", title: { text: "learning rate", standoff: 8 }, ...scales.below },
    yaxis3: { ...hidden, overlaying: "y" },
    yaxis4: { ...hidden, overlaying: "y2" },
    ...(strip ? { yaxis5: { ...common, domain: [0.28, 0.36], range: [0, 1.02], fixedrange: true, tickvals: [0, 1], title: { text: "likely", standoff: 8 } } } : {}),
  };
}

// Labels of a logarithmic axis: 1, 2 and 5 of each power of ten, or the powers alone where there are many.
function powers(values) {
  let [low, high] = [Infinity, 0];
  for (const value of values) {
    if (!(value > 0)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const decades = high > 0 ? Math.log10(high / low) : 0;
  const few = decades <= 2 ? { dtick: "D2", minorloglabels: "complete" } : { dtick: Math.ceil(decades / 6) };
  return { ...few, exponentformat: "none", tickformat: "~g" };
}

export const CONFIG = {
  displaylogo: false, responsive: false, doubleClick: "reset",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]], // none that leaves the page
};
