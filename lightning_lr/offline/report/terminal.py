"""What the command line prints: tables by rich, with text from a log shown as plain text.

A metric's name may hold rich's own markup, or bytes that steer a terminal; neither is interpreted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lightning_lr.engine.journal import plain
from lightning_lr.engine.records import Decision
from lightning_lr.engine.text import arrow
from lightning_lr.engine.vocabulary import Action, Condition

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console() -> Console:
    """Standard output; as wide as the terminal, 120 columns if there is none."""
    import sys

    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:  # rich would end the program with status 1
            raise BrokenPipeError

    return Piped(highlight=False, width=None if sys.stdout.isatty() else 120, soft_wrap=False)


def safe(text: str) -> str:
    r"""Text without the control characters that a terminal would obey.

    >>> safe("val\x1b[31m_loss\n")
    'val\\x1b[31m_loss\\x0a'
    """
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], right: int = 0, whole: int = 0) -> Table:
    """A table of plain texts.

    Args:
        title: above it.
        heads: of the columns.
        rows: the cells.
        right: how many of the first columns are numbers, set to the right.
        whole: how many of them are never broken into lines, as long as the others have room left.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(safe(title)), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for place, head in enumerate(heads):
        justify: Literal["left", "right"] = "right" if place < right else "left"
        made.add_column(Text(safe(head)), justify=justify, overflow="fold", no_wrap=place < whole)
    for row in rows:
        made.add_row(*(Text(safe(cell)) for cell in row))
    return made


def as_json(document: Any) -> None:
    """Print one JSON document; numbers that are not finite are words, as in a journal."""
    console().out(json.dumps(plain(document), ensure_ascii=False, indent=2, allow_nan=False), highlight=False)


def say(out: Console, *sentences: str, style: str = "", indent: int = 0) -> None:
    """Print sentences, each on lines of its own."""
    from rich.padding import Padding
    from rich.text import Text

    for sentence in sentences:
        out.print(Padding(Text(safe(sentence), style=style), (0, 0, 0, indent), expand=False))


def short(decision: Decision) -> str:
    """A decision in a few words, for a narrow column.

    >>> short(Decision(3, 3, 3, Action.REDUCE, Condition.PLATEAU, 0.5, {}, {}, "flat for long"))
    'plateau: reduce × 0.5'
    """
    if decision.action is Action.HOLD:
        return "hold"
    factor = f" × {decision.factor:.3g}" if decision.factor != 1.0 else ""
    # A recipe acts by its clock, on healthy runs too.
    why = "" if decision.condition is Condition.HEALTHY else f"{decision.condition}: "
    what = "search" if decision.action is Action.EXPLORE else decision.action
    return f"{why}{what}{factor}"


def rate_change(old: Mapping[str, float], new: Mapping[str, float]) -> str:
    """Old → new rate of the first group, and how many more there are.

    >>> rate_change({"lr-SGD": 0.1, "b": 0.1}, {"lr-SGD": 0.05, "b": 0.05})
    '0.1 → 0.05 (+1)'
    """
    for name, rate in new.items():
        return arrow(old.get(name, float("nan")), rate, 3) + (f" (+{len(new) - 1})" if len(new) > 1 else "")
    return "unknown"
