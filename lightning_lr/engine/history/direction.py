"""A sentence where a monitor's name and its mode do not go together.

The mode is never guessed from a name; but a user who forgot to say ``mode="max"`` shall hear of it at once, and not
from the curves of a run in which every improvement counted as a loss.
"""

from __future__ import annotations

from lightning_lr.engine.history.metric_names import is_meant_to_rise
from lightning_lr.engine.vocabulary import Mode


def doubt(monitor: str, mode: Mode) -> str | None:
    """What a user should look at again; ``None`` where nothing is to be said.

    Only of ``mode="min"``, which is what stands where nobody said anything; whoever says ``"max"`` means it.

    >>> doubt("val/Acc_epoch", Mode.MIN)
    "Less of `val/Acc_epoch` counts as better (mode='min'). Where more of it is better, say mode='max'."
    >>> doubt("val_acc", Mode.MAX), doubt("val_acc_loss", Mode.MIN), doubt("val_score", Mode.MIN)
    (None, None, None)
    """
    if mode is Mode.MIN and is_meant_to_rise(monitor):
        return f"Less of `{monitor}` counts as better (mode='min'). Where more of it is better, say mode='max'."
    return None
