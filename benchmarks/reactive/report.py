"""``RESULTS.md``, from the lines of the results: nothing is trained here, and nothing is left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from benchmarks.any_start.report import table

Cell = tuple[str, float, int, int]
"""Task, start, budget, seed."""

FINAL, BEST = 0, 1
PLATEAU, OURS, NOTHING = "plateau", ("conservative", "auto"), "nothing"
WORSE = 1.02

HEAD = """# Reactive rules: the outcome

Written by `python -m benchmarks.reactive`; nothing here is typed by hand. {tasks} tasks × {starts} constant rates
({rates} of a usual one) × {budgets} epochs × {seeds} = {cells} cells; in each, every rule trains the same model from
the same weights on the same batches. A rule sees the validation loss once an epoch; all figures are of the test loss.

- *Final*: of the weights that training ends with; for `stop` (EarlyStopping with a checkpoint), the best ones.
- *Best*: of the weights with the lowest validation loss: what a checkpoint keeps, whatever the rule.
- A ratio below 1 is better. *Mean* is the geometric one; a loss that is no number counts as a thousand times another's.
- `plateau 5 × 0.1` is ReduceLROnPlateau with that patience and factor. *Best setting*: the one of the eight with the
  lowest mean final loss over all cells, in hindsight. *Best of eight*: that in each single cell, in hindsight: no rule
  could be chosen so, and it profits from luck.
- `auto` searches nothing here, and anneals nothing.
"""


def report(lines: Sequence[Mapping[str, Any]]) -> str:
    """The text."""
    found = ended(lines)
    cells = sorted({cell for cell, _ in found})
    rules = list(dict.fromkeys(rule for _, rule in found))
    starts, budgets = sorted({cell[1] for cell in cells}), sorted({cell[2] for cell in cells})
    head = HEAD.format(
        tasks=len({cell[0] for cell in cells}),
        starts=len(starts),
        rates=", ".join(f"× {start:.2g}" for start in starts),
        budgets=", ".join(map(str, budgets)),
        seeds=f"{len({cell[3] for cell in cells})} seeds",
        cells=len(cells),
    )
    plateaus = [rule for rule in rules if rule.startswith(PLATEAU)]

    def ratios(rule: str, other: Callable[[Cell, int], float], which: int, of: Iterable[Cell] = cells) -> list[float]:
        return [ratio(found[cell, rule][which], other(cell, which)) for cell in of]

    def against(rule: str) -> Callable[[Cell, int], float]:
        return lambda cell, which: found[cell, rule][which]

    def best_of_eight(cell: Cell, which: int) -> float:
        return min(found[cell, rule][which] for rule in plateaus)

    setting = min(plateaus, key=lambda rule: mean(ratios(rule, against(NOTHING), FINAL)))
    parts = [head]
    for which, name in ((FINAL, "Final"), (BEST, "Best")):
        header = ["rule", "acted", "to nothing: mean", "median", "worst", f"> {WORSE}", f"to {setting}: mean", "median"]
        rows = []
        for rule in rules[1:]:
            own, beside = ratios(rule, against(NOTHING), which), ratios(rule, against(setting), which)
            acted = fmean(found[cell, rule][2] > 0 for cell in cells)
            to_eight = ratios(rule, best_of_eight, which)
            figures = (mean(own), median(own), max(own), fmean(value > WORSE for value in own))
            shown = [f"{figures[0]:.3f}", f"{figures[1]:.3f}", f"{figures[2]:.2f}", f"{100 * figures[3]:.1f} %"]
            both = [f"{value:.3f}" for value in (mean(beside), median(beside), mean(to_eight), median(to_eight))]
            rows.append([rule, f"{100 * acted:.0f} %", *shown, *both])
        header += ["to the best of eight: mean", "median"]
        parts.append(f"## {name} test loss, to that with no rule, and to plateau rules\n\n{table(header, rows)}")
    rows = []
    for rule in (*OURS, setting, "stop 10"):
        for budget in budgets:
            of = [cell for cell in cells if cell[2] == budget]
            own, beside = ratios(rule, against(NOTHING), FINAL, of), ratios(rule, best_of_eight, FINAL, of)
            worse = f"{100 * fmean(value > WORSE for value in own):.1f} %"
            rows.append([rule, str(budget), *(f"{f(x):.3f}" for x in (own, beside) for f in (mean, median)), worse])
    header = ["rule", "epochs", "to nothing: mean", "median", "to the best of eight: mean", "median", f"> {WORSE}"]
    parts.append(f"## Final test loss by budget\n\n{table(header, rows)}")
    rows = []
    for other in [*plateaus, *(rule for rule in rules if rule.startswith("stop"))]:
        row = [other]
        for rule in OURS:
            beside = ratios(rule, against(other), FINAL)
            row += [f"{mean(beside):.3f}", f"{median(beside):.3f}"]
        rows.append(row)
    header = ["to", *(f"{rule}: {what}" for rule in OURS for what in ("mean", "median"))]
    parts.append(f"## Ours to each setting, final test loss\n\n{table(header, rows)}")
    for rule in OURS:
        rows = []
        for task, start, budget in sorted({cell[:3] for cell in cells}):
            own = ratios(rule, against(NOTHING), FINAL, [cell for cell in cells if cell[:3] == (task, start, budget)])
            theirs = ratios(setting, against(NOTHING), FINAL, [c for c in cells if c[:3] == (task, start, budget)])
            if mean(own) > WORSE:
                rows.append([task, f"× {start:.2g}", str(budget), f"{mean(own):.3f}", f"{mean(theirs):.3f}"])
        total = len({cell[:3] for cell in cells})
        said = f"{len(rows)} of {total} (mean over the seeds; beside them {setting}).\n\n"
        body = table(["task", "start", "epochs", rule, setting], rows) if rows else ""
        parts.append(f"## Where `{rule}` is worse than nothing by more than 2 %: {said}{body}")
    return "\n".join(parts)


def ended(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[Cell, str], tuple[float, float, int]]:
    """Cell and rule → final and best test loss, and actions."""
    found = {}
    for line in lines:
        for budget, (final, best, actions) in line["ended"].items():
            cell = line["task"], float(line["start"]), int(budget), int(line["seed"])
            numbers = [math.inf if value is None else float(value) for value in (final, best)]
            found[cell, line["rule"]] = numbers[0], numbers[1], int(actions)
    return found


def ratio(value: float, other: float) -> float:
    """Of two losses; at most a thousand.

    >>> ratio(2.0, 1.0), ratio(float("inf"), 1.0), ratio(float("inf"), float("inf"))
    (2.0, 1000.0, 1.0)
    """
    if math.isinf(value) and math.isinf(other):
        return 1.0
    return min(1000.0, max(0.001, value / other))


def mean(ratios: Sequence[float]) -> float:
    """The geometric one."""
    return math.exp(fmean(map(math.log, ratios)))
