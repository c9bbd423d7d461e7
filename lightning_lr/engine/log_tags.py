"""What this package's numbers are called in a logger: `loggers` writes these names, `offline` reads them.

``lr_controller/<quantity>``; a controller that has a name of its own, where a Trainer has two, writes
``lr_controller/<name>/<quantity>``. A name holds no slash, so that the quantity can be told from it.
"""

from __future__ import annotations

PREFIX = "lr_controller"

PROBES = frozenset(
    {"flip_rate", "output_change", "update_ratio", "gradient_disparity", "relative_disparity", "critical_ratio"}
)
"""What the detectors read of the probes: a replay sees it in a log."""

CONDITION = "condition"
"""``condition/<name>`` has a point at those checks at which that is the condition."""

PROBABILITY = "probability"
"""``probability/<condition>`` is how probable it is; no point while it cannot be told."""

UNTRAINED = "untrained"
"""``untrained/<metric>`` is the value of a metric before the first training step, once."""

QUANTITIES = PROBES | {"lr", "scale", CONDITION, PROBABILITY, UNTRAINED, "gap", "train"}
"""First parts of the tags that are read back from a log."""


def prefix_of(name: str | None) -> str:
    """What all tags of a controller begin with.

    >>> prefix_of(None), prefix_of("head")
    ('lr_controller', 'lr_controller/head')
    """
    return f"{PREFIX}/{name}" if name else PREFIX


def is_ours(tag: str) -> bool:
    """Whether a tag is one that this package's callback writes, also where it has a name of its own.

    >>> is_ours("lr_controller/scale"), is_ours("lr_controller/head/scale"), is_ours("lr-SGD")
    (True, True, False)
    """
    return tag.split("/")[0] == PREFIX


def quantity_of(tag: str) -> str | None:
    """The quantity of a tag of ours, with or without a name; ``None`` for one that is not ours or is not read back.

    >>> quantity_of("lr_controller/head/lr/lr-SGD"), quantity_of("lr_controller/scale"), quantity_of("val/scale")
    ('lr/lr-SGD', 'scale', None)
    """
    first, *rest = tag.split("/")
    heads = [place for place, part in enumerate(rest[:2]) if part in QUANTITIES]
    return "/".join(rest[heads[0] :]) if first == PREFIX and heads else None


def condition_of(tag: str) -> tuple[str, str] | None:
    """Whose tag of a condition it is, and which condition; ``None`` for any other tag.

    >>> condition_of("lr_controller/head/condition/plateau"), condition_of("lr_controller/condition/plateau")
    (('lr_controller/head', 'plateau'), ('lr_controller', 'plateau'))
    >>> condition_of("lr_controller/scale"), condition_of("condition/plateau")
    (None, None)
    """
    head, _, name = (quantity_of(tag) or "").partition("/")
    return (tag.removesuffix(f"/{head}/{name}"), name) if head == CONDITION and name else None
