// The same axes for all runs: ranges that hold every timeline, so that heights can be compared from chart to chart.

import { curves } from "./chart.js";

const ROOM = 0.05; // of the range, on either side

// {x, above, below}: [low, high] as plotly counts, logarithms on a logarithmic axis; null where nothing can be drawn.
export function shared(timelines, { x, logarithmic, dark }) {
  const [xs, metrics, rates] = [new Range(), new Range(logarithmic), new Range(true)];
  for (const timeline of timelines) {
    const { above, below } = curves(timeline, dark);
    xs.take(0);
    for (const check of timeline.checks) {
      xs.take(check[x]);
      for (const curve of above) metrics.take(curve.value(check));
      for (const curve of below) rates.take(curve.value(check));
    }
    for (const rate of Object.values(timeline.before)) rates.take(rate);
  }
  return { x: xs.upTo(), above: metrics.around(), below: rates.around() };
}

class Range {
  constructor(logarithmic = false) {
    this.logarithmic = logarithmic;
    this.low = Infinity;
    this.high = -Infinity;
  }

  take(value) {
    if (typeof value !== "number" || (this.logarithmic && value <= 0)) return;
    const at = this.logarithmic ? Math.log10(value) : value;
    this.low = Math.min(this.low, at);
    this.high = Math.max(this.high, at);
  }

  upTo() {
    return this.high > this.low ? [this.low, this.high] : null;
  }

  around() {
    if (this.high < this.low) return null;
    const room = ROOM * (this.high - this.low) || 0.5;
    return [this.low - room, this.high + room];
  }
}
