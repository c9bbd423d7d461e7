// What the pointer says: a hairline and a box with the numbers of the nearest check, or the story of a decision where
// one is near. The box is our own, so that whatever a log says stays text.

import { curves } from "./chart.js";
import { colour, words } from "./conditions.js";
import { element, number } from "./dom.js";
import { story } from "./story.js";

const NEAR = 7; // pixels to either side of a decision

export class Hover {
  // plot: plotly's element; state(): {timeline, x, dark} as drawn; chosen(decision): on a click
  constructor(plot, state, chosen) {
    this.plot = plot;
    this.state = state;
    this.line = element("div", { class: "hairline", hidden: true });
    this.box = element("div", { class: "hover", role: "tooltip", hidden: true });
    plot.parentNode.append(this.line, this.box);
    plot.addEventListener("pointermove", (event) => this.move(event));
    plot.addEventListener("pointerleave", () => this.hide());
    let down = null;
    plot.addEventListener("pointerdown", (event) => (down = event.clientX), true);
    // Plotly makes a drag of each press and takes the click away, so the release is what counts.
    this.up = (event) => {
      const still = down !== null && Math.abs(event.clientX - down) < 4;
      down = null;
      const decision = still ? this.decisionAt(event) : null;
      if (decision) chosen(decision);
    };
    window.addEventListener("pointerup", this.up, true);
  }

  remove() {
    window.removeEventListener("pointerup", this.up, true);
  }

  hide() {
    this.line.hidden = this.box.hidden = true;
  }

  // Pixel of the pointer within the plot's area, or null outside of it.
  pixel(event) {
    const full = this.plot._fullLayout;
    if (!full?.xaxis) return null;
    const frame = this.plot.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left - full.xaxis._offset, event.clientY - frame.top - full._size.t];
    return x < -NEAR || x > full.xaxis._length + NEAR || y < 0 || y > full._size.h ? null : x;
  }

  decisionAt(event) {
    const pixel = this.pixel(event);
    if (pixel === null) return null;
    const { timeline, x } = this.state();
    return nearest(timeline.decisions, x, this.plot._fullLayout.xaxis, pixel, NEAR);
  }

  move(event) {
    const pixel = this.pixel(event);
    if (pixel === null || event.buttons) return this.hide();
    const { timeline, x, dark } = this.state();
    const axis = this.plot._fullLayout.xaxis;
    const decision = nearest(timeline.decisions, x, axis, pixel, NEAR);
    const check = decision ? null : nearest(timeline.checks, x, axis, pixel, 60);
    if (!decision && !check) return this.hide();
    this.plot.classList.toggle("at-mark", Boolean(decision));
    this.box.replaceChildren(...(decision ? story(timeline, decision) : values(timeline, check, dark)));
    this.place(axis._offset + axis.d2p((decision ?? check)[x]), event);
  }

  place(x, event) {
    this.line.hidden = this.box.hidden = false;
    const { t, h } = this.plot._fullLayout._size;
    this.line.style.transform = `translate(${Math.round(x)}px, ${t}px)`;
    this.line.style.height = `${h}px`;
    const frame = this.plot.getBoundingClientRect();
    const { width, height } = this.box.getBoundingClientRect();
    // Beside the line: on its right as long as the window has room, the table may be covered; else on its left.
    const right = x + 14;
    const left = frame.left + right + width < window.innerWidth - 8 ? right : Math.max(8 - frame.left, x - 14 - width);
    const top = Math.min(Math.max(0, event.clientY - frame.top - height / 2), Math.max(0, frame.height - height));
    this.box.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }
}

function values(timeline, check, dark) {
  const { above, below } = curves(timeline, dark);
  const row = (curve) => {
    const swatch = element("span", { class: "swatch" });
    swatch.style.background = curve.colour;
    return element("div", {}, element("dt", {}, swatch, curve.name), element("dd", {}, number(curve.value(check))));
  };
  return [
    element("div", { class: "quiet" }, `check ${check.check} · epoch ${check.epoch} · step ${check.step}`),
    element("dl", { class: "values" }, [...above, ...below].map(row), chances(timeline, check, dark)),
  ];
}

// The probabilities of a check; one that cannot be told yet says so.
function chances(timeline, check, dark) {
  return [...timeline.probabilities].map(([name, color]) => {
    const swatch = element("span", { class: "swatch area" });
    swatch.style.background = colour({ color }, dark);
    const value = check.probabilities[name];
    const shown = typeof value === "number" ? `${Math.round(100 * value)} %` : "cannot tell yet";
    return element("div", {}, element("dt", {}, swatch, `probability: ${words(name)}`), element("dd", {}, shown));
  });
}

// Of what is sorted by x: the one nearest to a pixel, where it is near enough.
function nearest(sorted, x, axis, pixel, near) {
  if (!sorted.length) return null;
  const at = axis.p2d(pixel);
  let [low, high] = [0, sorted.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle][x] < at) low = middle + 1;
    else high = middle;
  }
  const distance = (item) => Math.abs(axis.d2p(item[x]) - pixel);
  const found = low > 0 && distance(sorted[low - 1]) < distance(sorted[low]) ? sorted[low - 1] : sorted[low];
  return distance(found) <= near ? found : null;
}
