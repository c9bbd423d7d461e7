"""Short sentences on the marks of a figure: in rows above the panel, so that no two overlap.

Each label stands in the lowest row where it fits, beginning at its mark, or ending there near the right edge. The last
mark chooses first: so the line of a mark ends below the labels of those before it, and crosses none. Where the rows do
not suffice all labels are said in fewer words, and at last not at all: the colours remain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightning_lr.engine.records import Decision
from lightning_lr.engine.vocabulary import Action, Condition

ROWS = 5
"""Rows of labels that a figure may have above its curves."""

GAP = 0.012
"""Least distance of two labels in a row, in widths of the panel."""

Width = Callable[[str], float]
"""Width of a text, in widths of the panel."""

Placed = tuple[str, float, float, int]
"""Text, position of its mark and of its left end (both in widths of the panel), and row."""


def label_of(decision: Decision, words: int = 2) -> str:
    """A decision in a few words: 2 with what was the matter, 1 with what was done, 0 the factor alone."""
    factor = f"× {decision.factor:.2g}" if decision.factor != 1.0 else ""
    act = {Action.RESTORE: "restore ", Action.STOP: "stop", Action.EXPLORE: "explore ", Action.ANNEAL: "anneal "}
    done = f"{act.get(decision.action, '')}{factor}".strip() or str(decision.action)
    if words == 2 and decision.condition is not Condition.HEALTHY:
        return f"{str(decision.condition).replace('_', ' ')}: {done}"
    return done if words else factor or done


def placed(decisions: Sequence[Decision], positions: Sequence[float], width: Width) -> list[Placed]:
    """Where each label stands; empty where they do not fit.

    >>> cut = Decision(3, 3, 3, Action.REDUCE, Condition.PLATEAU, 0.3, {}, {}, "")
    >>> placed([cut, cut], [0.5, 0.6], lambda text: len(text) / 100)
    [('plateau: × 0.3', 0.5, 0.5, 1), ('plateau: × 0.3', 0.6, 0.6, 0)]
    """
    for words in (2, 1, 0):
        texts = [label_of(decision, words) for decision in decisions]
        found = _in_rows(texts, positions, width)
        if found is not None:
            return found
    return []


def _in_rows(texts: Sequence[str], positions: Sequence[float], width: Width) -> list[Placed] | None:
    starts = [2.0] * ROWS
    found: list[Placed] = []
    for text, position in zip(reversed(texts), reversed(positions), strict=True):
        wide = width(text)
        left = position if position + wide <= 1.0 else position - wide
        row = next((row for row, start in enumerate(starts) if left + wide + GAP <= start), None)
        if row is None:
            return None
        starts[row] = left
        found.append((text, position, left, row))
    return found[::-1]
