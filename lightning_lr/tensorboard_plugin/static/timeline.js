// The pages of one controller in one run → one timeline. Pages come in any order and again and again; a page replaces
// what it was before. Sessions are fits: where a later one begins at check 250, whatever an earlier one says of the
// checks from 250 on was undone by going back to a checkpoint, and is dropped.

export class Timeline {
  constructor(run, prefix) {
    this.run = run;
    this.prefix = prefix;
    this.pages = new Map();
    this.unread = [];
    this.version = 0;
  }

  add(page) {
    this.pages.set(`${page.kind}/${page.session}/${page.place}`, page);
    this.version += 1;
    this.drawn = null;
  }

  // {checks: [{check, epoch, step, train, metrics, rates, probabilities}], decisions, reviews: check of a decision →
  // {at, brought}, monitors, rates, train, before, ratesLeftOut, probabilities: condition → colour, best: check}
  read() {
    this.drawn ??= this.merge();
    return this.drawn;
  }

  merge() {
    const checks = new Map();
    const decisions = new Map();
    const reviews = new Map();
    const names = { monitors: new Set(), rates: new Set() };
    let train = "train_loss";
    let ratesLeftOut = 0;
    let first = null;
    let last = null; // the page with the newest check knows the best one
    const probabilities = new Map();
    for (const session of this.sessions()) {
      const start = Math.min(...session.checks.map((page) => page.rows[0][0]));
      for (const known of [checks, decisions]) {
        for (const check of known.keys()) if (check >= start) known.delete(check);
      }
      for (const [check, review] of reviews) if (review.at >= start) reviews.delete(check);
      for (const page of session.checks) {
        page.monitors.forEach((name) => names.monitors.add(name));
        page.rates.forEach((name) => names.rates.add(name));
        train = page.train;
        ratesLeftOut = Math.max(ratesLeftOut, page.rates_left_out);
        for (const row of page.rows) checks.set(row[0], unpack(row, page));
        const newest = page.rows.at(-1)[0];
        if (last === null || session.number > last.session || newest >= last.check) last = { session: session.number, check: newest, best: page.best ?? -1 };
        for (const [name, colour] of Object.entries(page.probabilities ?? {})) probabilities.set(name, colour);
        const [check] = page.rows[0];
        if (first === null || check < first.check) first = { check, before: named(page.rates, page.before) };
      }
      for (const page of session.decisions) {
        for (const decision of page.decisions) decisions.set(decision.check, decision);
      }
      for (const page of session.reviews) {
        for (const review of page.reviews) reviews.set(review.check, review);
      }
    }
    return {
      checks: [...checks.values()].sort((a, b) => a.check - b.check),
      decisions: [...decisions.values()].sort((a, b) => a.check - b.check),
      reviews,
      monitors: [...names.monitors],
      rates: [...names.rates],
      train: names.monitors.has(train) ? null : train,
      before: first === null ? {} : first.before,
      best: last === null ? -1 : last.best,
      probabilities,
      ratesLeftOut,
    };
  }

  // Oldest first, each with its pages by kind; one that has no check yet says nothing.
  sessions() {
    const found = new Map();
    for (const page of this.pages.values()) {
      if (!found.has(page.session)) found.set(page.session, { number: page.session, checks: [], decisions: [], reviews: [] });
      found.get(page.session)[page.kind].push(page);
    }
    return [...found.values()].filter((session) => session.checks.length).sort((a, b) => a.number - b.number);
  }
}

function unpack(row, page) {
  const split = 4 + page.monitors.length;
  const end = split + page.rates.length;
  return {
    check: row[0],
    epoch: row[1],
    step: row[2],
    train: finite(row[3]),
    metrics: named(page.monitors, row.slice(4, split)),
    rates: named(page.rates, row.slice(split, end)),
    probabilities: named(Object.keys(page.probabilities ?? {}), row.slice(end)),
  };
}

const finite = (value) => (typeof value === "number" ? value : null);

// Without a prototype: a metric may be called `__proto__`.
function named(names, values) {
  const record = Object.create(null);
  names.forEach((name, i) => (record[name] = finite(values[i])));
  return record;
}
