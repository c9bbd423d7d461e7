"""What the name of a metric says: on which data it was measured, and whether more or less of it is better.

A name is read word by word (``val/MSELoss_epoch``: val, mse, loss, epoch), never by what it happens to contain:
``val_constraint`` has nothing to do with training.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Set

TRAINING = frozenset({"train", "training", "trn"})
VALIDATION = frozenset({"val", "valid", "validation", "eval", "evaluation", "dev", "holdout"})
OTHER = frozenset({"test", "testing", "predict", "sanity"})
WHEN = frozenset({"epoch", "step"})
DATA = TRAINING | VALIDATION | OTHER
"""Words that say on which data a metric was measured; those of ``WHEN`` say over which time."""

TOTAL = frozenset({"total", "mean", "avg", "average", "overall", "sum"})
"""Words of a loss that holds the others."""

RISES = frozenset(
    "acc accuracy auc auprc auroc bleu dice f1 f1score iou kappa map miou mrr ndcg "  # noqa: SIM905
    "precision psnr r2 recall rouge ssim".split()
)
FALLS = frozenset("ce cer err error fid loss mae mse nll perplexity ppl rmse wer".split())  # noqa: SIM905
"""Words for what is meant to rise and to fall; those that may mean either (score, distance) are in neither."""

SMOOTH = frozenset("ce loss mae mse nll perplexity ppl rmse".split())  # noqa: SIM905
"""Words for what changes with every step of training; an accuracy or an error rate moves in steps of one sample."""

LOADER = re.compile(r"/dataloader_idx_\d+$")
"""What Lightning appends to the names of several validation sets."""

_KNOWN = DATA | WHEN | RISES | FALLS
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_GLUED = re.compile(rf"({'|'.join(sorted(DATA | WHEN))})({'|'.join(sorted(RISES | FALLS))})|(.+)(loss)")


def words(name: str) -> list[str]:
    """The words of a name in lower case, without the number of a data loader.

    >>> words("Validation/MSELoss_epoch"), words("trainLoss"), words("valloss/dataloader_idx_0"), words("val_mIoU")
    (['validation', 'mse', 'loss', 'epoch'], ['train', 'loss'], ['val', 'loss'], ['val', 'miou'])
    """
    found: list[str] = []
    for part in re.split(r"[\W_]+", LOADER.sub("", name)):
        whole = [part] if part.lower() in _KNOWN else _HUMP.split(part)
        for word in map(str.lower, filter(None, whole)):
            glued = None if word in _KNOWN else _GLUED.fullmatch(word)
            found += filter(None, glued.groups()) if glued else [word]
    return found


def bare_name(name: str) -> str:
    """A metric's name without the words that say on which data it was measured, and when.

    >>> bare_name("val/Loss_epoch"), bare_name("train_loss"), bare_name("validation-acc/dataloader_idx_1")
    ('loss', 'loss', 'acc')
    """
    return "_".join(word for word in words(name) if word not in DATA | WHEN)


def is_held_out(name: str) -> bool:
    """Whether a metric is measured on other data than the training data; so is one whose name does not tell.

    >>> is_held_out("val_constraint"), is_held_out("loss"), is_held_out("train_loss")
    (True, True, False)
    """
    there = set(words(name))
    return not there & TRAINING or bool(there & (VALIDATION | OTHER))


def is_loss(name: str) -> bool:
    """Whether a name calls itself a loss.

    >>> is_loss("val/MSELoss"), is_loss("val_glossary_hits")
    (True, False)
    """
    return "loss" in words(name)


def validation_losses(names: Collection[str], held_out: Collection[str] = ()) -> tuple[str, ...]:
    """The validation loss among logged metrics, by a written rule; empty if there is none.

    ``val_loss`` if it is logged. Otherwise, of all names with a word for held-out data and the word loss, the one with
    the fewest other words, of which those for a total do not count; of these one without ``_epoch`` or such a word,
    then the first of the alphabet. Of several data loaders all. A name that ends in ``_step`` is the value of a batch.

    Args:
        names: metrics that were logged.
        held_out: those that are known to come from a validation, whatever their names.

    >>> validation_losses(["loss", "val_acc", "valid/loss_aux", "valid/loss"])
    ('valid/loss',)
    >>> validation_losses(["val_loss_box", "val_mean_loss"])
    ('val_mean_loss',)
    >>> validation_losses(["val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"])
    ('val_loss/dataloader_idx_0', 'val_loss/dataloader_idx_1')
    """
    ranked = []
    for name in names:
        read = words(name)
        there = set(read)
        measured = there & VALIDATION or (name in held_out and not there & DATA)
        if measured and "loss" in there and not there & (TRAINING | OTHER) and read[-1] != "step":
            ranked.append((name != "val_loss", *other_words(there, VALIDATION), name))
    return with_loaders(min(ranked)[-1], names) if ranked else ()


def other_words(there: Set[str], data: Set[str]) -> tuple[int, bool]:
    """How many words say that it is a part; and whether one is of an epoch or a total: the plain name comes first."""
    return len(there - data - WHEN - TOTAL), bool(there & TOTAL) or "epoch" in there


def with_loaders(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """The metric; if its name is that of one data loader, those of all."""
    if not LOADER.search(name):
        return (name,)
    return tuple(sorted(n for n in names if LOADER.search(n) and LOADER.sub("", n) == LOADER.sub("", name)))


def is_meant_to_rise(name: str) -> bool:
    """Whether a name says that more of it is better; a loss of an accuracy, say, does not.

    >>> is_meant_to_rise("val_acc"), is_meant_to_rise("val_acc_loss"), is_meant_to_rise("val_score")
    (True, False, False)
    """
    there = set(words(name))
    return bool(there & RISES) and not there & FALLS


def is_discrete(monitor: str) -> bool:
    """Whether a held-out metric may stand still while the model still learns: an accuracy, but no loss.

    >>> is_discrete("val_acc"), is_discrete("val_loss"), is_discrete("train_acc")
    (True, False, False)
    """
    return is_held_out(monitor) and not set(words(monitor)) & (SMOOTH | OTHER)


def is_beside(loss: str, monitor: str) -> bool:
    """Whether a loss shows what a monitor that moves in steps may hide: one of the same held-out data and loader.

    >>> is_beside("val_loss", "val_acc"), is_beside("val_loss", "val_mse"), is_beside("val_loss", "train_acc")
    (True, False, False)
    >>> is_beside("val_loss/dataloader_idx_1", "val_acc/dataloader_idx_0")
    False
    """
    named = words(loss)
    held_out = "loss" in named and named[-1] != "step" and bool(set(named) & VALIDATION) and not set(named) & TRAINING
    return held_out and LOADER.findall(loss) == LOADER.findall(monitor) and is_discrete(monitor)


def loss_beside(monitors: Iterable[str], logged: Iterable[str]) -> str | None:
    """The logged loss that is read beside monitors that are none: of several, that with the fewest other words.

    >>> loss_beside(["val_acc"], ["train_loss", "val_loss_aux", "val/loss_epoch", "val/loss", "val_loss_step"])
    'val/loss'
    >>> loss_beside(["val_loss"], ["val_loss", "val_ce_loss"]) is None
    True
    """
    logged = list(logged)
    for monitor in monitors:
        found = [
            (len(set(words(name)) - DATA - WHEN), "epoch" in words(name), name)
            for name in logged
            if is_beside(name, monitor)
        ]
        if found:
            return min(found)[-1]
    return None
