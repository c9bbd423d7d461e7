// Which runs are shown: a list with a box for each, and a filter above it.

import { element } from "./dom.js";

export class Sidebar {
  constructor(changed) {
    this.changed = changed;
    this.known = new Map();
    this.filter = element("input", { type: "search", placeholder: "Filter runs", "aria-label": "Filter runs", oninput: () => this.narrow() });
    this.list = element("div", { class: "runs", role: "group", "aria-label": "Runs" });
    this.node = element("aside", {}, element("h1", {}, "Runs"), this.filter, this.list);
  }

  // Runs as the server lists them; those that are new are chosen where `first` says so.
  show(runs, first) {
    for (const { run, changed } of runs) {
      if (!this.known.has(run)) this.known.set(run, this.line(run, first.has(run)));
      this.known.get(run).node.classList.toggle("empty", changed === null);
    }
    const there = new Set(runs.map(({ run }) => run));
    for (const run of [...this.known.keys()]) if (!there.has(run)) this.known.delete(run);
    const nodes = runs.map(({ run }) => this.known.get(run).node);
    if (nodes.length !== this.list.children.length || nodes.some((node, i) => node !== this.list.children[i])) this.list.replaceChildren(...nodes);
    this.narrow();
  }

  line(run, checked) {
    const box = element("input", { type: "checkbox", checked, onchange: () => this.changed() });
    const node = element("label", { title: run }, box, element("span", { class: "name" }, run), element("span", { class: "tag" }, "no data"));
    return { box, node };
  }

  narrow() {
    const wanted = this.filter.value.toLowerCase();
    for (const [run, { node }] of this.known) node.hidden = !run.toLowerCase().includes(wanted);
  }

  get chosen() {
    return [...this.known].filter(([, { box }]) => box.checked).map(([run]) => run);
  }
}
