"""Scripted runs of the engine alone: readings in, journal lines out; no torch, no Trainer.

Each function is one run, and its docstring says what happens in it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from tests.golden.adapter import Action, Condition, EngineRun, Policy, Response, SearchResult

NAN, INF = float("nan"), float("inf")
BLOCKS = [1.5, 1.3, 1.2, 1.1, 1.05, 1.0, 1.02, 0.99, 1.01, 0.98]
"""A training loss that falls and then wanders."""
RUNS: dict[str, Callable[[], list[str]]] = {}


def run(function: Callable[[], EngineRun]) -> Callable[[], EngineRun]:
    """Take a run into the list, under its name."""
    RUNS[f"engine_{function.__name__}"] = lambda: function().lines
    return function


def noise(seed: int, count: int, size: float) -> list[float]:
    """The same on every machine and version of Python."""
    generator = random.Random(seed)
    return [size * (2 * generator.random() - 1) for _ in range(count)]


def noisy(values: list[float], seed: int, size: float) -> list[float]:
    return [value + by for value, by in zip(values, noise(seed, len(values), size), strict=True)]


@run
def auto_overfits() -> EngineRun:
    """Policy auto: improves, overfits while training goes on, is restored and cut, finds no new best; resumed in it."""
    made = EngineRun({"patience": 2})
    val = noisy([2.0, 1.5, 1.2, 1.0, 0.9, 0.85, 0.82, 0.86, 0.9, 0.94, 0.98, 1.02, 1.06, 1.1], 1, 0.004)
    train = noisy([2.0 * 0.85**check for check in range(14)], 2, 0.004)
    made.feed(val[:9], train, recorded=False)
    made.resume()
    made.feed(val[9:], train[9:])
    return made


@run
def auto_plateau_in_a_budget() -> EngineRun:
    """Policy auto, known budget: a young plateau is left alone, an old one restored; at the end the best comes back."""
    made = EngineRun(budget=240, check=211)
    made.feed([1.0, 0.8, 0.7, *[0.65] * 9], recorded=False)
    made.feed([0.65] * 5)
    made.feed([0.65] * 8, recorded=False)
    made.feed([0.66, 0.7, 0.71, 0.74])
    return made


@run
def noisy_plateau() -> EngineRun:
    """A steady descent in noise that stops: improving, then cannot be told, then a plateau."""
    made = EngineRun()
    val = noisy([2.0 - 0.05 * min(check, 18) for check in range(45)], 15, 0.006)
    made.feed(val[:30], recorded=False)
    made.feed(val[30:38])
    made.feed(val[38:], recorded=False)
    return made


@run
def level_for_long() -> EngineRun:
    """A lucky best at the start, and noise on a level ever since; training stands still too."""
    made = EngineRun()
    val, train = [0.8, *noisy([1.0] * 29, 16, 0.05)], noisy([1.2] * 30, 20, 0.05)
    made.feed(val, train, recorded=False)
    return made


@run
def overfits_slowly() -> EngineRun:
    """A rise of half a per cent a check in noise, restored twice; several ways to tell come one after the other."""
    made = EngineRun({"patience": 3})
    val = noisy([1.0 - 0.03 * check if check < 12 else 0.592 + 0.004 * check for check in range(32)], 17, 0.003)
    train = noisy([1.0 - 0.025 * check for check in range(32)], 18, 0.003)
    made.feed(val[:17], train, recorded=False)
    made.feed(val[17:18], train[17:])
    made.feed(val[18:], train[18:], recorded=False)
    return made


@run
def spikes_and_returns() -> EngineRun:
    """The training loss loses ground for one check: no divergence; later it does, and validation with it."""
    made = EngineRun()
    train = [2.0, 1.6, 1.3, 1.1, 1.0, 0.95, 0.92, 0.9, 0.89, 0.88, 1.6, 0.9, 0.88, 0.87, 0.86, 0.85, 1.9, 2.6]
    made.feed([1.1 * loss for loss in train], noisy(train, 19, 0.01), recorded=False)
    return made


@run
def conservative_with_bounds() -> EngineRun:
    """Policy conservative: warm-up checks, patience, cooldown; two groups of which one is at its bound, then both."""
    numbers = {"patience": 2, "cooldown": 6, "warmup_checks": 10, "min_probability": 0.7, "min_lr": [0.08, 0.04]}
    made = EngineRun({"policy": "conservative"} | numbers, groups=("lr-SGD/body", "lr-SGD/head"))
    made.feed([1.0, *[0.9] * 6], recorded=False)
    made.feed([0.9] * 15)
    made.feed([0.9] * 10, recorded=False)
    made.feed([0.9] * 2)
    return made


@run
def conservative_is_cut_no_further() -> EngineRun:
    """Policy conservative with its own factor: cuts to a thousandth since the best, then no more."""
    made = EngineRun({"policy": "conservative", "patience": 1, "factor": 0.1})
    made.feed([2.0, 1.5, 1.1, 0.5], recorded=False)
    made.feed([0.5] * 11)
    made.feed([0.5] * 41, recorded=False)
    made.feed([0.5] * 4)
    return made


@run
def conservative_diverges() -> EngineRun:
    """Policy conservative: the training loss diverges; the rate is cut without a restore, within max_lr."""
    made = EngineRun({"policy": "conservative", "max_lr": 0.3}, lr=0.5)
    falls = [2.2, 1.5, 1.3, 1.27, 1.26, 1.25, 1.25, 1.24]
    train = [*[(loss + 0.02, loss) for loss in falls], (2.4, 2.6), (3.8, 3.9), (3.9, 3.8), (3.3, 2.8), (1.9, 1.7)]
    made.feed(falls, train, recorded=False)
    made.feed([2.4, 3.8, 3.9, 3.3, 1.8], train[8:])
    return made


@run
def halving() -> EngineRun:
    """Policy halving: a period that performs well, a second one that makes the range, and the range left again."""
    made = EngineRun({"policy": "halving", "epochs": 2})
    made.feed([1.0, 0.99, 0.999, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7])
    return made


@run
def exponential() -> EngineRun:
    """Policy exponential: a decay each second epoch, slower from a plateau on; resumed in the middle."""
    made = EngineRun({"policy": "exponential", "epochs": 2, "ratio": 0.8, "min_lr": 0.02})
    made.feed([1.0, 0.8, 0.7, 0.6])
    made.resume()
    made.feed([0.6] * 7, recorded=False)
    made.feed([0.6] * 4)
    return made


@run
def custom_policy() -> EngineRun:
    """A table of the user's own: cuts on a spike, yields to a schedule that moves, has no snapshot to restore."""
    table = {
        Condition.PLATEAU: Response(Action.RESTORE, 0.5, patience=2, defer_to_scheduler=True),
        Condition.LOSS_SPIKE: Response(Action.REDUCE, 0.8),
    }
    made = EngineRun({"policy": Policy("mine", table)}, snapshots=False)
    made.feed([1.0, 0.95, 0.9], [BLOCKS[:5], BLOCKS[5:], (0.97, 0.98, 6.0)], recorded=False)
    made.look(0.89, (0.98, 0.96, 0.95))
    made.feed([0.85] * 7, recorded=False)
    for lr in (0.09, 0.08, 0.08):
        made.lr = lr
        made.look(0.85, (0.95,))
    return made


@run
def raise_up_to_where_it_diverged() -> EngineRun:
    """Policy auto: diverges and is restored; a raise to the rate of then is refused."""
    made = EngineRun()
    falls = [2.0, 1.8, 1.61, 1.4, 1.3, 1.2, 1.1, 1.05, 1.01, 1.0, 1.9, 2.6]
    made.feed(falls[:10], falls, recorded=False)
    made.feed(falls[10:], falls[10:])
    made.feed([0.98, 0.9, 0.8], [0.98, 0.9, 0.8], critical_ratio=[200.0, 200.0, 200.0])
    return made


@run
def spike() -> EngineRun:
    """A spike of the training loss is named and left alone; while it is still up it is only suspected."""
    made = EngineRun()
    made.feed([1.0, 0.9], [BLOCKS[:5], BLOCKS[5:]], recorded=False)
    made.look(0.95, (0.97, 0.98, 6.0))
    made.look(0.93, (0.98, 0.96, 0.95))
    made.look(0.88, (0.97, 0.96, 0.95))
    return made


@run
def not_finite_until_it_stops() -> EngineRun:
    """No number in the last steps, then in validation too: four restores in vain, then training stops at its best."""
    made = EngineRun()
    made.feed([1.0, NAN, 0.8, 0.7], [1.0, (0.9, NAN), 0.8, 0.75])
    made.feed([NAN, NAN, INF, NAN, NAN, NAN], [0.7, *[NAN] * 5])
    return made


@run
def raise_is_kept() -> EngineRun:
    """Slow progress by the critical ratio: a raise of two octaves at once, on probation, which helps and stays."""
    made = EngineRun()
    val = [2.0, 1.99, 1.981, 1.97, 1.8, 1.61, 1.4]
    made.feed(val, val, critical_ratio=[90.0, 80.0, 75.0, 20.0, 9.0, 8.0, 7.0])
    return made


@run
def raise_is_undone() -> EngineRun:
    """Improving with room for more: a raise that does not help is taken back, and the next one has to wait."""
    made = EngineRun({"patience": 2})
    val = [2.0, 1.9, 1.81, 1.7, 1.69, 1.67, 1.655, 1.61, 1.55, 1.51, 1.45, 1.39, 1.32, 1.26]
    ratio = [14.0 + 0.1 * check for check in range(14)]
    made.feed(val[:2], val, recorded=False, critical_ratio=ratio)
    made.feed(val[2:], val[2:], critical_ratio=ratio[2:])
    return made


@run
def steps_are_tiny() -> EngineRun:
    """Slow progress by the update ratio, under a policy that never raises: named, and left alone."""
    made = EngineRun({"policy": "conservative"})
    losses = [2.0, 1.99, 1.981, 1.97]
    made.feed(losses, losses, update_ratio=[2e-5] * 4)
    return made


@run
def oscillates() -> EngineRun:
    """Gradients of successive steps oppose each other while training stands still: the rate is halved."""
    made = EngineRun({"patience": 2})
    opposed, val = noisy([1.4] * 12, 3, 0.02), noisy([1.1 - 0.01 * check for check in range(12)], 5, 0.002)
    train, ratio = [2.0, *noisy([1.0] * 11, 4, 0.005)], [0.01 + 0.001 * check for check in range(12)]
    made.feed(val[:8], train, recorded=False, relative_disparity=opposed, update_ratio=ratio)
    made.feed(val[8:], train[8:], relative_disparity=opposed[8:], update_ratio=ratio[8:])
    return made


@run
def incoherent() -> EngineRun:
    """Neurons flip and nothing comes of it: two cuts in vain, then no third; the advice is the architecture."""
    made = EngineRun({"patience": 1})
    flips, val = noisy([0.09] * 15, 6, 0.01), noisy([0.6] * 15, 8, 0.01)
    output = [0.5 * flip for flip in flips]
    made.feed(val[:4], val, recorded=False, flip_rate=flips, output_change=output)
    made.feed(val[4:11], val[4:], flip_rate=flips[4:], output_change=output[4:])
    made.feed(val[11:14], val[11:], recorded=False, flip_rate=flips[11:], output_change=output[11:])
    made.feed(val[14:], val[14:], flip_rate=flips[14:], output_change=output[14:])
    return made


@run
def overfits_without_validation() -> EngineRun:
    """Only the training loss is watched: the gradients of two batches part again, which is overfitting."""
    made = EngineRun({"monitor": "train_loss"})
    losses = [2 / (check + 1) for check in range(20)]
    apart = noisy([1 + 0.1 * abs(check - 10) for check in range(20)], 9, 0.01)
    made.feed(losses[:16], losses, recorded=False, gradient_disparity=apart)
    made.feed(losses[16:], losses[16:], gradient_disparity=apart[16:])
    return made


@run
def sets_vote() -> EngineRun:
    """Three validation sets, majority: one alone on a plateau is only named, two of them carry it."""
    names = ("val_loss/a", "val_loss/b", "val_loss/c")
    made = EngineRun({"monitor": list(names), "patience": 2})
    falling = noisy([1.0 - 0.03 * check for check in range(16)], 20, 0.002)
    stuck = [1.0, *[0.9] * 15]
    late = [1.0, 0.9, 0.82, *[0.7] * 13]
    sets = [dict(zip(names, values, strict=True)) for values in zip(falling, stuck, late, strict=True)]
    made.feed(sets[:9], recorded=False)
    made.feed(sets[9:])
    return made


@run
def any_set_overfits() -> EngineRun:
    """Two validation sets, any of them is enough; the second is logged at every second check alone; no restores."""
    made = EngineRun({"monitor": ["val_loss", "val_other"], "vote": "any", "restore_best": False})
    train = noisy([2.0 * 0.9**check for check in range(14)], 11, 0.004)
    val = noisy([1.6, 1.3, 1.1, 0.95, 0.85, 0.8, 0.84, 0.88, 0.92, 0.96, 1.0, 1.04, 1.08, 1.12], 12, 0.004)
    values = [
        {"val_loss": value, **({"val_other": 2.0 * 0.97**check} if check % 2 == 0 else {})}
        for check, value in enumerate(val)
    ]
    made.feed(values[:8], train, recorded=False)
    made.feed(values[8:], train[8:])
    return made


@run
def more_is_better() -> EngineRun:
    """An accuracy: the larger the better; a gain below min_delta is none; overfits."""
    made = EngineRun({"monitor": "val_acc", "mode": "max", "min_delta": 0.005})
    acc = noisy([0.3, 0.5, 0.6, 0.65, 0.68, 0.7, 0.69, 0.68, 0.67, 0.66, 0.65, 0.64, 0.63], 13, 0.001)
    train = noisy([2.0 * 0.8**check for check in range(13)], 14, 0.002)
    made.feed(acc[:9], train, recorded=False)
    made.feed([*acc[9:], 0.7, 0.703, 0.704], train[9:])
    return made


@run
def train_metric_beside_it() -> EngineRun:
    """A logged training accuracy stands for the training side: the gap is between the two."""
    made = EngineRun({"monitor": "val_acc", "mode": "max", "train_monitor": "train_acc"})
    for check, value in enumerate([0.5, 0.6, 0.65, 0.65, 0.64]):
        made.look(value, 1.0 / (check + 1), train_metric=0.5 + 0.05 * check)
    return made


@run
def loss_beside_an_accuracy() -> EngineRun:
    """An accuracy stands at the majority class while its loss falls: no plateau; once both stand, it is one."""
    made = EngineRun({"monitor": "val_acc", "mode": "max"}, loss_beside="val_loss")
    losses = noisy([0.6 - 0.02 * min(check, 12) for check in range(34)], 21, 0.001)
    values = [{"val_acc": 0.85, "val_loss": loss} for loss in losses]
    made.feed(values[:9], losses, recorded=False)
    made.feed(values[9:12], losses[9:])
    made.feed(values[12:30], losses[12:], recorded=False)
    made.feed(values[30:], losses[30:])
    return made


@run
def far_above_the_start() -> EngineRun:
    """A rate far too high from the start: after the first check the loss is a hundred times what it was untrained."""
    made = EngineRun()
    untrained = {"train_loss": 2.3, "val_loss": 2.3}
    made.look(641.0, (2.4, 9.0, 80.0, 300.0, 500.0, 620.0, 600.0, 640.0), untrained=untrained)
    made.look(2.2, (2.3, 2.25, 2.2, 2.2, 2.1))
    return made


@run
def is_over_though_it_sets_records() -> EngineRun:
    """A calm descent that has died out but sets a record at each check: its last half tells, given the start."""
    made = EngineRun()
    val = [0.3 + 2.0 * 0.78**check + 1e-4 * (40 - check) for check in range(40)]
    made.look(val[0], untrained={"val_loss": 2.4})
    made.feed(val[1:35], recorded=False)
    made.feed(val[35:])
    return made


@run
def between_validations() -> EngineRun:
    """The training loss is looked at between two validations: healthy, then divergent, then no number."""
    made = EngineRun()
    made.look(2.0, (2.3, 2.0))
    for losses in ((1.6, 1.4), (1.3, 1.27), (1.25, 1.26), (1.24, 1.25), (1.23, 1.24), (1.24, 1.22)):
        made.train_only(*losses)
    made.look(1.3, (1.23, 1.22), train_loss=1.3)
    for losses in ((2.9, 3.6), (4.8, 4.9), (1.3, 1.2), (NAN, NAN)):
        made.train_only(*losses)
    return made


READINGS = {0.0: (2.3, 2.5), 0.5: (2.2, 2.4), 2.0: (1.9, 2.1), 8.0: (1.5, 1.6), 32.0: (INF, 40.0)}
"""Losses of two fixed batches at multiples of the first update."""


@run
def searches() -> EngineRun:
    """Ends of a search: kept, moved, moved to a bound, to both ends of the range; nothing told, nothing to read."""
    made = EngineRun({"min_lr": 1e-3}, budget=100)
    kept = SearchResult(READINGS, 1.0, 1.6, True, gain=0.85, spread=0.14, horizon=500)
    made.searched(kept, train_loss=2.4)
    made.searched(replace(kept, factor=0.2, estimate=0.2))
    made.searched(replace(kept, factor=1e-3, estimate=1e-3))
    made.searched(replace(kept, factor=1000.0, estimate=1400.0, checked=False))
    made.searched(replace(kept, factor=1e-3, estimate=1e-3, checked=False))
    made.searched(SearchResult(READINGS, spread=0.14, horizon=500))
    made.searched(SearchResult({0.0: (INF, 2.3)}, horizon=500))
    made.searched(
        SearchResult(horizon=500, against="the batch cannot be copied: TypeError: cannot pickle 'lock' object")
    )
    made.anneals()
    made.anneals(stops_early=True)
    return made


def moved_and_wrecked() -> EngineRun:
    """A rate that the search has moved, and a wreck after it."""
    made = EngineRun(budget=40)
    made.searched(SearchResult(READINGS, 20.0, 20.0, True, 0.85, 0.14, 40), val_loss=2.3)
    made.wrecked()
    return made


@run
def search_is_confirmed() -> EngineRun:
    """A rate that was moved: the start stays at hand until the monitor is clearly better than before training."""
    made = moved_and_wrecked()
    made.feed([2.2, 1.88, 1.63, 1.4, 1.22])
    return made


@run
def search_is_taken_back() -> EngineRun:
    """The training loss has promised what the monitor does not keep: the start and the rate of the user come back."""
    made = moved_and_wrecked()
    made.feed([2.25, 2.31, 2.35, 2.33])
    made.resume()
    made.feed([2.3, 2.36, 2.35, 2.2, 2.02])
    return made
