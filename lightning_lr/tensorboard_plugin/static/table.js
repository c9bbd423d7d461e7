// All decisions of a timeline, one row each. Rows are added as a run goes on; the chosen one stays chosen.

import { shape } from "./conditions.js";
import { element } from "./dom.js";
import { change, done } from "./story.js";

const HEADS = [["#", "right"], ["epoch", "right"], ["what, and why", ""], ["learning rate", "right"]];

export class Table {
  constructor(chosen) {
    this.chosen = chosen;
    this.body = element("tbody");
    this.rows = new Map();
    this.node = element("div", { class: "table", tabindex: "0", "aria-label": "decisions" },
      element("table", {}, element("thead", {}, element("tr", {}, HEADS.map(([head, side]) => element("th", { class: side }, head)))), this.body));
  }

  show(decisions) {
    const rows = decisions.map((decision) => this.rows.get(key(decision)) ?? this.row(decision));
    this.rows = new Map(decisions.map((decision, i) => [key(decision), rows[i]]));
    if (rows.length !== this.body.children.length || rows.some((row, i) => row !== this.body.children[i])) {
      const follows = this.body.children.length > 0 && this.node.scrollTop + this.node.clientHeight >= this.node.scrollHeight - 4;
      this.body.replaceChildren(...rows);
      if (follows) this.node.scrollTop = this.node.scrollHeight;
    }
    if (!decisions.length) this.body.replaceChildren(element("tr", { class: "none" }, element("td", { colspan: "4" }, "No decision yet: nothing had to be changed.")));
  }

  row(decision) {
    const choose = () => this.chosen(decision);
    return element("tr", { tabindex: "0", onclick: choose, onkeydown: (event) => event.key === "Enter" && choose(), title: decision.reason },
      element("td", { class: "right" }, String(decision.number)),
      element("td", { class: "right" }, String(decision.epoch)),
      element("td", { class: "what" },
        element("span", { class: "condition" }, shape(decision), done(decision)),
        element("div", { class: "quiet" }, why(decision))),
      element("td", { class: "rate right" }, change(decision)));
  }

  choose(decision) {
    for (const [name, row] of this.rows) row.classList.toggle("chosen", decision !== null && name === key(decision));
    const row = decision && this.rows.get(key(decision));
    // Only the table scrolls, never the page.
    if (row && (row.offsetTop < this.node.scrollTop + 30 || row.offsetTop + row.offsetHeight > this.node.scrollTop + this.node.clientHeight)) {
      this.node.scrollTop = row.offsetTop - this.node.clientHeight / 2;
    }
  }
}

// What triggered it; the sentence where that is a mere word ("budget"), and where a search kept the rate, which it explains.
const kept = ({ action, factor }) => action === "explore" && factor === 1;
const why = (decision) => (decision.cause?.includes(" ") && !kept(decision) ? decision.cause : decision.reason);

const key = (decision) => `${decision.check} ${decision.number} ${decision.reason}`;
