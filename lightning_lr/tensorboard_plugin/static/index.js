// The tab: asks which runs there are, draws the chosen ones, and looks every few seconds whether there is more.

import * as api from "./api.js";
import { shared } from "./axes.js";
import { Card } from "./card.js";
import { element } from "./dom.js";
import { Sidebar } from "./sidebar.js";
import { Timeline } from "./timeline.js";
import { follow } from "./theme.js";

const EVERY = 5000; // milliseconds between two looks
const AT_FIRST = 4; // runs shown without being asked for
const USUAL = "lr_controller";

export async function render() {
  document.head.append(element("link", { rel: "stylesheet", href: new URL("./tab.css", import.meta.url) }));
  await new Tab().start();
}

class Tab {
  constructor() {
    this.sidebar = new Sidebar(() => this.look());
    this.stored = new Map(); // run → {cursor, timelines: prefix → Timeline}
    this.cards = new Map(); // run and prefix → Card
    this.messages = new Map(); // run → what is shown in place of a card
    this.cardsNode = element("div", { class: "cards" });
    this.status = element("span", { class: "status quiet", role: "status" }, "Loading …");
    this.axis = element("select", { onchange: () => this.draw() }, element("option", { value: "step" }, "step"), element("option", { value: "check" }, "check"));
    this.logarithmic = element("input", { type: "checkbox", onchange: () => this.draw() });
    this.same = element("input", { type: "checkbox", onchange: () => this.draw() });
    this.sameLabel = element("label", { hidden: true }, this.same, " same axes for all runs");
    this.problem = element("p", { class: "warning", hidden: true });
    document.body.append(this.sidebar.node, element("main", {},
      element("div", { class: "bar" },
        element("label", {}, "Horizontal axis ", this.axis),
        element("label", {}, this.logarithmic, " metrics on a log scale"),
        this.sameLabel,
        this.status),
      this.problem, this.cardsNode));
  }

  async start() {
    this.dark = follow((dark) => {
      this.dark = dark;
      this.draw();
    });
    await this.look();
    setInterval(() => this.visible() && this.look(), EVERY);
  }

  // A tab in the background has no size, and asks nothing.
  visible() {
    return !document.hidden && document.documentElement.clientWidth > 0;
  }

  // One look at a time: whoever asks while one is under way gets another one after it.
  async look() {
    if (this.looking) return (this.again = true);
    this.looking = true;
    try {
      do {
        this.again = false;
        await this.update();
      } while (this.again);
      this.status.textContent = `Updated ${new Date().toLocaleTimeString()}`;
    } catch (error) {
      this.status.textContent = `No answer from TensorBoard (${error.message}); trying again.`;
    } finally {
      this.looking = false;
    }
  }

  async update() {
    const { runs, charts } = await api.runs();
    this.charts = charts;
    const loading = charts ? api.charts() : null; // it takes the longest: beside everything else
    this.sidebar.show(runs, this.first(runs));
    this.changed = new Map(runs.map(({ run, changed }) => [run, changed]));
    const [library] = await Promise.all([loading, ...this.sidebar.chosen.map((run) => this.fetch(run))]);
    this.plotly = library;
    await this.draw();
  }

  // The newest runs that have our data, at the first look only; a run that begins later is shown where there is room.
  first(runs) {
    const ours = runs.filter(({ changed }) => changed !== null).sort((a, b) => (b.start ?? b.changed) - (a.start ?? a.changed));
    const room = AT_FIRST - this.sidebar.chosen.length;
    const fresh = ours.filter(({ run }) => !this.sidebar.known.has(run));
    if (ours.length || this.sidebar.known.size) return new Set(fresh.slice(0, Math.max(0, room)).map(({ run }) => run));
    return new Set(runs.slice(0, 1).map(({ run }) => run));
  }

  async fetch(run) {
    const changed = this.changed.get(run);
    const stored = this.stored.get(run) ?? { cursor: 0, timelines: new Map() };
    if (changed === null || changed === undefined || changed <= stored.cursor) return;
    const { cursor, pages, unreadable } = await api.pages(run, stored.cursor);
    this.stored.set(run, stored);
    for (const page of pages) {
      if (!stored.timelines.has(page.prefix)) stored.timelines.set(page.prefix, new Timeline(run, page.prefix));
      stored.timelines.get(page.prefix).add(page);
    }
    stored.cursor = cursor;
    stored.unreadable = unreadable;
  }

  async draw() {
    const view = { x: this.axis.value, logarithmic: this.logarithmic.checked, dark: this.dark };
    this.problem.hidden = this.charts;
    this.problem.textContent = "The charts need plotly: pip install plotly where TensorBoard runs. The table needs nothing.";
    const chosen = this.sidebar.chosen;
    const wanted = new Map();
    for (const run of chosen) {
      const stored = this.stored.get(run);
      const timelines = stored ? [...stored.timelines.values()] : [];
      for (const timeline of timelines) {
        timeline.unread = stored.unreadable ?? [];
        wanted.set(JSON.stringify([run, timeline.prefix]), timeline);
      }
      if (!timelines.length) wanted.set(JSON.stringify([run]), run);
    }
    if (!wanted.size) wanted.set("nothing", null);
    this.arrange(wanted);
    this.cardsNode.classList.toggle("several", wanted.size > 1);
    const drawn = [...wanted.values()].filter((what) => what instanceof Timeline).map((timeline) => timeline.read());
    this.sameLabel.hidden = drawn.length < 2;
    view.ranges = this.same.checked && drawn.length > 1 ? shared(drawn, view) : null;
    for (const key of wanted.keys()) await this.cards.get(key).draw?.(this.plotly, view);
  }

  // Cards come and go, and stand in the order of the list; those that stay are not touched.
  arrange(wanted) {
    for (const [key, card] of this.cards) {
      if (wanted.has(key)) continue;
      card.remove();
      this.cards.delete(key);
    }
    let before = null;
    for (const [key, what] of wanted) {
      if (!this.cards.has(key)) this.cards.set(key, this.make(what));
      const node = this.cards.get(key).node;
      if (before ? before.nextSibling !== node : this.cardsNode.firstChild !== node) {
        if (before) before.after(node);
        else this.cardsNode.prepend(node);
      }
      before = node;
    }
  }

  make(what) {
    if (what instanceof Timeline) return new Card(what, what.prefix === USUAL ? what.run : `${what.run} · ${what.prefix.replace(`${USUAL}/`, "")}`);
    const node = what === null ? nothingChosen(this.sidebar.known.size) : noData(what, this.stored.get(what)?.unreadable ?? []);
    return { node, remove: () => node.remove() };
  }
}

function nothingChosen(runs) {
  const text = runs ? "Choose one or several runs on the left." : "There are no runs in this log directory yet. They appear here by themselves.";
  return element("section", { class: "card message" }, element("p", {}, text));
}

const EXAMPLE = `from lightning.pytorch import Trainer
from lightning_lr import LearningRateController

trainer = Trainer(max_epochs=30, callbacks=[LearningRateController(monitor="val_loss")])
trainer.fit(model, datamodule)`;

function noData(run, unreadable) {
  return element("section", { class: "card message", "data-run": run },
    element("header", {}, element("h2", {}, run)),
    unreadable.length ? element("p", { class: "warning" }, unreadable.join(" ")) : null,
    element("p", {}, "This run has no decisions about the learning rate: it was trained without the callback LearningRateController, or no check has been made yet. To get them, add the callback and log to TensorBoard, which Lightning does by itself where TensorBoard is installed:"),
    element("pre", {}, EXAMPLE));
}
