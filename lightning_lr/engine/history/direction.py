"""A sentence where a monitor's name and its mode do not go together.

The mode is never guessed from a name; but a user who forgot to say ``mode="max"`` shall hear of it at once, and not
from the curves of a run in which every improvement counted as a loss.
"""

from __future__ import annotations

import re

from lightning_lr.engine.vocabulary import Mode

RISES = frozenset(
    "acc accuracy auc auprc auroc bleu dice f1 f1score iou miou precision psnr r2 recall ssim".split()  # noqa: SIM905
)
FALLS = frozenset("ce cer err error fid loss mae mse nll perplexity ppl rmse wer".split())  # noqa: SIM905
"""Words for what is meant to rise and to fall; those that may mean either (score, distance) are in neither."""


def doubt(monitor: str, mode: Mode) -> str | None:
    """What a user should look at again; ``None`` where nothing is to be said.

    Only of ``mode="min"``, which is what stands where nobody said anything; whoever says ``"max"`` means it.

    >>> doubt("val/Acc_epoch", Mode.MIN)
    "Less of `val/Acc_epoch` counts as better (mode='min'). Where more of it is better, say mode='max'."
    >>> doubt("val_acc", Mode.MAX), doubt("val_acc_loss", Mode.MIN), doubt("val_score", Mode.MIN)
    (None, None, None)
    """
    words = set(re.split(r"[^a-z0-9]+", monitor.lower()))
    if mode is Mode.MIN and words & RISES and not words & FALLS:
        return f"Less of `{monitor}` counts as better (mode='min'). Where more of it is better, say mode='max'."
    return None
