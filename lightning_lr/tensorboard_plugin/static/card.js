// One timeline on the page: its name, chart, legend, story of the chosen decision, and the table beside it.

import { CONFIG, byCondition, curves, figure, stateMarks } from "./chart.js";
import { colour, shape, words } from "./conditions.js";
import { count, element, number } from "./dom.js";
import { Hover } from "./hover.js";
import { story } from "./story.js";
import { Table } from "./table.js";

export class Card {
  constructor(timeline, title) {
    this.timeline = timeline;
    this.chosen = null;
    this.facts = element("span", { class: "quiet facts" });
    this.warning = element("p", { class: "warning", hidden: true });
    this.legend = element("div", { class: "legend" });
    this.plot = element("div", { class: "plot" });
    this.story = element("div", { class: "story" });
    this.table = new Table((decision) => this.choose(decision));
    this.node = element("section", { class: "card", "data-run": timeline.run },
      element("header", {}, element("h2", {}, title), this.facts),
      this.warning,
      element("div", { class: "body" },
        element("div", { class: "left" }, this.legend, element("div", { class: "frame" }, this.plot), this.story),
        this.table.node));
    this.hover = new Hover(this.plot, () => ({ timeline: timeline.read(), ...this.view }), (decision) => this.choose(decision));
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.plot);
  }

  async draw(plotly, view) {
    const state = `${this.timeline.version} ${JSON.stringify(view)}`;
    if (state === this.state) return;
    this.state = state;
    this.view = view;
    this.plotly = plotly;
    const timeline = this.timeline.read();
    this.describe(timeline, view);
    this.table.show(timeline.decisions);
    this.choose(this.chosen && (timeline.decisions.find((decision) => decision.check === this.chosen.check) ?? null));
    this.plot.hidden = !plotly; // the table stands without it
    if (!timeline.checks.length || !plotly) return;
    const { data, layout } = figure(timeline, view);
    await plotly.react(this.plot, data, layout, CONFIG);
    this.plot.dataset.checks = timeline.checks.length;
    this.plot.dataset.decisions = timeline.decisions.length;
    this.plot.dataset.at ??= performance.now();
  }

  describe(timeline, { dark }) {
    const { checks, decisions, rates, before } = timeline;
    const [name] = rates;
    const course = name && checks.length ? ` · learning rate ${number(before[name])} → ${number(checks.at(-1).rates[name])}` : "";
    this.facts.textContent = `${count(checks.length, "check")} · ${count(decisions.length, "decision")}${course}`;
    const wrong = [...this.timeline.unread];
    if (timeline.ratesLeftOut) wrong.push(`${count(timeline.ratesLeftOut, "further parameter group")} not drawn.`);
    this.warning.hidden = !wrong.length;
    this.warning.textContent = wrong.join(" ");
    const { above, below } = curves(timeline, dark);
    this.legend.replaceChildren(
      ...[...above, ...below].map((curve) => {
        const swatch = element("span", { class: "swatch" });
        swatch.style.background = curve.colour;
        return element("span", { class: "key" }, swatch, curve.name);
      }),
      ...byCondition(decisions).map(([name, found]) => element("span", { class: "key" }, shape(found[0]), `${name} (${found.length})`)),
      ...stateMarks(timeline, dark).map(({ name, color, symbol }) => {
        const ring = element("span", { class: `ring ${symbol}` });
        ring.style.borderColor = color;
        return element("span", { class: "key" }, ring, name);
      }),
      ...[...timeline.probabilities].map(([name, color]) => {
        const swatch = element("span", { class: "swatch area" });
        swatch.style.background = colour({ color }, dark);
        return element("span", { class: "key" }, swatch, `probability: ${words(name)}`);
      }),
    );
  }

  choose(decision) {
    this.chosen = decision;
    this.table.choose(decision);
    const hint = element("p", { class: "quiet" }, "Click a mark or a row to keep its story here.");
    const any = this.timeline.read().decisions.length > 0;
    this.story.replaceChildren(...(decision ? story(this.timeline.read(), decision) : any ? [hint] : []));
  }

  fit() {
    this.hover.hide(); // what it pointed at has moved
    if (this.plot.clientWidth > 0 && this.plot.data) this.plotly.Plots.resize(this.plot);
  }

  remove() {
    this.resized.disconnect();
    this.hover.remove();
    if (this.plot.data) this.plotly.purge(this.plot);
    this.node.remove();
  }
}
