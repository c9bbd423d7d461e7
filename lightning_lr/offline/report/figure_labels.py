"""Short sentences on the marks of a figure: in rows above the panel, so that no two overlap.

Each label stands in the lowest row where it fits, beginning at its mark, or ending there near the right edge. The last
mark chooses first: so the line of a mark ends below the labels of those before it, and crosses none. If the rows do not
suffice all labels are shortened, and at last left out: the colors remain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightning_lr.engine.records import Decision
from lightning_lr.offline.report import terminal

ROWS = 5
"""Rows of labels that a figure may have above its curves."""

GAP = 0.012
"""Least distance of two labels in a row, in widths of the panel."""

Width = Callable[[str], float]
"""Width of a text, in widths of the panel."""

Placed = tuple[str, float, float, int]
"""Text, position of its mark and of its left end (both in widths of the panel), and row."""


def placed(decisions: Sequence[Decision], positions: Sequence[float], width: Width) -> list[Placed]:
    """Where each label stands; empty if they do not fit.

    >>> from lightning_lr.engine.vocabulary import Action, Condition
    >>> cut = Decision(3, 3, 3, Action.REDUCE, Condition.PLATEAU, 0.3, {}, {}, "")
    >>> placed([cut, cut], [0.5, 0.6], lambda text: len(text) / 100)
    [('plateau: reduce × 0.3', 0.5, 0.5, 1), ('plateau: reduce × 0.3', 0.6, 0.6, 0)]
    """
    for label in (terminal.short, _shorter):
        found = _in_rows([label(decision) for decision in decisions], positions, width)
        if found is not None:
            return found
    return []


def _shorter(decision: Decision) -> str:
    return f"× {decision.factor:.3g}" if decision.factor != 1.0 else str(decision.action)


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
