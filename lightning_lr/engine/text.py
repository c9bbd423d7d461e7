"""The two or three grammatical helpers that every sentence needs."""

from __future__ import annotations

from collections.abc import Mapping


def plural(count: float) -> str:
    """The ``s`` of a plural, or nothing.

    >>> [f"{n} check{plural(n)}" for n in (0, 1, 2)]
    ['0 checks', '1 check', '2 checks']
    """
    return "" if count == 1 else "s"


def rate_changes(old: Mapping[str, float], new: Mapping[str, float], most: int = 3) -> str:
    """Old → new learning rate of each group, in brackets; of the first few where there are many.

    >>> rate_changes({"lr-SGD": 0.1}, {"lr-SGD": 0.05})
    ' (lr-SGD 0.1 → 0.05)'
    >>> rate_changes({}, {})
    ''
    """
    changes = [f"{name} {old[name]:.4g} → {new[name]:.4g}" for name in list(new)[:most]]
    if len(new) > most:
        changes.append(f"and {len(new) - most} more")
    return f" ({', '.join(changes)})" if changes else ""


def markdown_cell(text: str) -> str:
    r"""Text that cannot break out of a Markdown table's cell, nor be taken for HTML.

    >>> markdown_cell("a|b <script>")
    'a\\|b &lt;script&gt;'
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("|", "\\|").replace("\n", " ")
