"""Every sentence of the engine but those of the detectors. They are for readers: nothing takes one apart again.

The functions take numbers and words, not records, so that the records may use them too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping


def plural(count: float) -> str:
    """The ``s`` of a plural, or nothing.

    >>> [f"{n} check{plural(n)}" for n in (0, 1, 2)]
    ['0 checks', '1 check', '2 checks']
    """
    return "" if count == 1 else "s"


def arrow(old: float, new: float, digits: int = 4) -> str:
    """A number before and after a change.

    >>> arrow(0.1, 1 / 30), arrow(0.1, 1 / 30, digits=2)
    ('0.1 → 0.03333', '0.1 → 0.033')
    """
    return f"{old:.{digits}g} → {new:.{digits}g}"


SHOWN = 3
"""Parameter groups that a sentence names."""


def lr_changes(old: Mapping[str, float], new: Mapping[str, float]) -> str:
    """Old → new learning rate of each group; of the first few if there are many.

    >>> lr_changes({"lr-SGD": 0.1}, {"lr-SGD": 0.05})
    'lr-SGD 0.1 → 0.05'
    """
    changes = [f"{name} {arrow(old[name], new[name])}" for name in list(new)[:SHOWN]]
    if len(new) > SHOWN:
        changes.append(f"and {len(new) - SHOWN} more")
    return ", ".join(changes)


def kind(condition: str, action: str) -> str:
    """What a decision is called in legends and lists: its condition; what was done where there is none.

    >>> kind("plateau", "restore"), kind("healthy", "explore"), kind("healthy", "anneal")
    ('plateau', 'search', 'anneal')
    """
    if condition != "healthy":
        return str(condition)
    return "search" if action == "explore" else str(action)


def markdown(text: str) -> str:
    r"""Text that Markdown shows as it is, on one line, and that nothing takes for HTML.

    >>> markdown("a*b <script>")
    'a\\*b &lt;script&gt;'
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text)


# --- a decision -------------------------------------------------------------------------------------------------------


def reason(subject: str, notes: Iterable[str] = (), steps: Iterable[str] = ()) -> str:
    """The sentence of a decision: what it answers, what there is to say about it, and what is done.

    >>> reason("plateau: flat", ["no snapshot: cut without restore"], ["learning rate × 0.3"])
    'plateau: flat; no snapshot: cut without restore → learning rate × 0.3'
    """
    said, done = "; ".join([subject, *notes]), ", ".join(steps)
    return f"{said} → {done}" if done else said


def diagnosed(condition: str, finding: str, train: str | None = None) -> str:
    """How the sentence of most decisions begins.

    Args:
        condition: of the check.
        finding: the sentence of the finding that decided.
        train: the training loss, at a check between two validations.
    """
    said = finding if condition == "healthy" else f"{condition}: {finding}"
    if train is None:
        return said
    return f"between validations, {'healthy: ' + train if condition == 'healthy' else said}"


def restored(check: int) -> str:
    """The step that restores a snapshot.

    >>> restored(-1), restored(4)
    ('restore the state of the start', 'restore the state of check 4')
    """
    return "restore the state of the start" if check == -1 else f"restore the state of check {check}"


def scaled(factor: float, old: Mapping[str, float], new: Mapping[str, float], within_bounds: bool) -> str:
    """The step that changes the learning rate."""
    changes = f" ({lr_changes(old, new)})" if new else ""
    return f"learning rate × {factor:.3g}{' within its bounds' if within_bounds else ''}{changes}"


def annealed(end: int | None) -> str:
    """The step that begins the end of the run."""
    return f"anneal: {_falls(f'step {end}, and there the run ends')}"


AT_BOUNDS = "every learning rate is at its bound already"
NO_SNAPSHOT = "no snapshot: cut without restore"


def failed_restores(count: int) -> str:
    """Said when a state is restored again."""
    return f"{count} restore{plural(count)} brought no new best"


# --- probabilities ----------------------------------------------------------------------------------------------------


def percent(probability: float) -> str:
    """A probability in per cent; never certain.

    >>> percent(0.874), percent(0.9999), percent(0.0)
    ('87 %', '99 %', '1 %')
    """
    return f"{min(max(100 * probability, 1), 99):.0f} %"


def likely(what: str, probability: float) -> str:
    """What is stated, and how probable it is."""
    return f"{what} ({percent(probability)} likely)"


def probably(what: str, probability: float, why: str) -> str:
    """What is stated with a probability, and why; the reason first, since a console may have no room for all.

    >>> probably("stalled", 0.874, "no new best")
    'no new best; stalled (87 % likely)'
    """
    return f"{why}; {likely(what, probability)}"


def cannot_tell_yet(checks: float, fewest: float) -> str:
    """Said while there are too few checks."""
    return f"cannot tell yet ({checks:.0f} of {fewest:.0f} checks)"


def no_new_best(monitor: str, since: float, checks: float, best: float, best_check: float) -> str:
    """For how long there was no new best.

    >>> no_new_best("val_loss", 10, 15, 0.64, 4)
    'no new best of val_loss for 10 of 15 checks (best 0.64 at check 4)'
    """
    return (
        f"no new best of {monitor} for {since:.0f} of {checks:.0f} checks (best {best:.4g} at check {best_check:.0f})"
    )


def last_half(monitor: str, share: float) -> str:
    """What the last half of a run has gained."""
    return f"the last half of the run brought {100 * share:.2g} % of all that {monitor} gained"


def undiagnosed(stalled: float, diverging: float | None, views: str) -> str:
    """How sure it is that nothing is the matter, and where the monitors stand.

    >>> undiagnosed(0.04, None, "val_loss 0.5"), undiagnosed(0.6, 0.1, "val_loss 0.5")
    ('not stalled (stalled: 4 %): val_loss 0.5', 'cannot tell; stalled (60 % likely): val_loss 0.5')
    """
    worst = max(stalled, diverging or 0.0)
    what = "stalled" if worst == stalled else "diverging"
    if worst < 0.5:  # that says nothing of an improvement: the best may be several checks ago
        return f"not {what} ({what}: {percent(worst)}): {views}"
    return f"cannot tell; {likely(what, worst)}: {views}"


def overfitted(stall: float, overfitting: float, why: str) -> str:
    """That a stall is due to overfitting, with both probabilities."""
    return f"{probably('stalled', stall, why)}, {likely('by overfitting', overfitting)}"


def worse_than_best(monitor: str, value: float, best: float, best_check: float, trains: bool) -> str:
    """How a monitor compares with its best.

    >>> worse_than_best("val_loss", 0.95, 0.5, 5, trains=True)
    'val_loss has risen to 0.95 from its best 0.5 of check 5 while the training loss falls'
    """
    moved = "risen" if value > best else "fallen"
    falls = " while the training loss falls" if trains else ""
    return f"{monitor} has {moved} to {value:.4g} from its best {best:.4g} of check {best_check:.0f}{falls}"


def diverged(what: str, before: float, level: float, height: float, lost: float, agrees: bool) -> str:
    """How far a training loss has risen, and what of its gain is lost.

    Args:
        what: the series, in words.
        before: its level before.
        level: its level now.
        height: difference in standard errors.
        lost: the same as a share of all that was gained; infinite if nothing was.
        agrees: whether validation is worse too.

    >>> diverged("the training loss", 1.25, 3.8, 21.0, 2.4, agrees=True)
    'the training loss rose from 1.25 to 3.8 (21 deviations): 2.4 times all that was gained is lost; validation agrees'
    """
    if height <= 0:
        return f"{what} {level:.4g} is no worse than the {before:.4g} of before"
    if lost == float("inf"):
        gone = "it had gained nothing before"
    elif lost <= 1:
        gone = f"{100 * lost:.0f} % of all that was gained is lost"
    else:
        gone = f"{lost:.2g} times all that was gained is lost"
    moved = "rose" if level > before else "fell"
    return f"{what} {moved} from {before:.4g} to {level:.4g} ({height:.0f} deviations): {gone}{_agrees(agrees)}"


def above_start(what: str, level: float, start: float, agrees: bool) -> str:
    """That a loss lies far above the one before training."""
    return f"{what} is {level:.4g}, far above the {start:.4g} before training{_agrees(agrees)}"


def _agrees(validation: bool) -> str:
    return "; validation agrees" if validation else ""


# --- the gates --------------------------------------------------------------------------------------------------------


def no_response(policy: str) -> str:
    """A condition that is recorded only.

    >>> no_response("conservative")
    "no response in policy 'conservative'"
    """
    return f"no response in policy {policy!r}"


def warm_up(left: int, checks: int) -> str:
    """Checks at the start without an adjustment."""
    return f"{left} of {checks} warm-up checks left"


def cooldown(left: int) -> str:
    """Checks after an adjustment without another."""
    return f"cooling down, {left} check{plural(left)} left"


def patience(seen: int, wanted: int) -> str:
    """Checks in a row with the same condition."""
    return f"{seen} of {wanted} checks in a row"


LOSSES_JUMPED = (
    "both losses have jumped at the beginning of an epoch: the next check shows whether they mean something else"
)
LOSSES_STAYED = "both losses jumped at the beginning of an epoch and stayed: they mean something else from here on"


def began_anew(why: str) -> str:
    """The best so far is forgotten."""
    return f"{why}; what was the best is forgotten"


SCHEDULER_CHANGES_LR = "left alone: the schedule itself is changing the rate"


def young_plateau(lasted: float, wanted: float) -> str:
    """The best check was too short a time ago; fractions of the budget."""
    return f"left alone: it has lasted for {100 * lasted:.0f} % of the budget, of {100 * wanted:.0f} %"


NOT_THE_BEST = "raise skipped: the current weights are not the best snapshot, so the raise could not be undone"
LR_HAS_CHANGED = "raise skipped: the learning rate has changed since the last check"


def last_raise_failed(checks: int) -> str:
    """How long no raise is tried."""
    return f"no raise: the last raise did not help, {checks} check{plural(checks)} to wait"


def diverged_before(rate: float) -> str:
    """A raise would reach a rate at which the run diverged."""
    return f"no raise: the run diverged at {rate:.2g} before"


def last_cut_failed(checks: int) -> str:
    """How long a stall is not answered."""
    return f"left alone: the last reduction has brought nothing, {checks} check{plural(checks)} to wait"


def reduction_limit(factor: float) -> str:
    """All reductions since the best, multiplied."""
    return f"left alone: the adjustments since the best amount to × {factor:.2g}, and none has brought a new one"


# --- the review -------------------------------------------------------------------------------------------------------


def reviewed(check: int, action: str, brought: str) -> str:
    """The review of a change: which one, and what it brought."""
    return f"the {'reduction' if action == 'reduce' else action} of check {check} {brought}"


def review_known(check: int, review: str) -> str:
    """What the console says when the review of a change is known."""
    return f"check {check} · {review}"


def brought(monitor: str, helped: bool, gains: tuple[float, float | None, float], checks: int) -> str:
    """What a change brought.

    Args:
        monitor: whose gains these are.
        helped: the verdict.
        gains: mean gain a check before, expected without the change (for a raise alone), and since.
        checks: since then.
    """
    before, expected, after = gains
    without = "" if expected is None else f", {expected:.3g} expected without it"
    return (
        f"{'helped' if helped else 'did not help'}: {monitor} gained {before:.3g} a check before, "
        f"{after:.3g} since{without} ({checks} check{plural(checks)})"
    )


# --- the end of a run -------------------------------------------------------------------------------------------------


def ended_worse(monitor: str, value: float, best: float, best_check: int) -> str:
    """The budget is used up, and the state is clearly not the best."""
    return (
        f"the budget is used up and {monitor} ends at {value:.4g}, worse than its best {best:.4g} of check "
        f"{best_check} by more than luck explains"
    )


def end_is_over(begun: int, monitor: str, value: float, best: float) -> str:
    """The annealing that a plateau began is through."""
    return f"the end that began at check {begun} is over, {monitor} ends at {value:.4g} (best {best:.4g})"


def anneal_begins(early: bool, progress: float | None, budget: int | None) -> str:
    """The rate falls from here on, because of the budget or of EarlyStopping."""
    if early:
        end = f"step {budget}, and there the run ends"
        return f"anneal: EarlyStopping has run out of patience: {_falls(end)}"
    used = "" if progress is None else f"{100 * progress:.0f} % of the budget is used: "
    return f"anneal: {used}{_falls('the end')}"


def budget_moved(before: int | None, now: int | None, multiple: float) -> str:
    """A resumed run has another number of steps.

    >>> budget_moved(300, 400, 0.5)
    'The run has 400 optimizer steps, 300 before it was resumed. The learning rate goes on at 50 % of its level ...'
    >>> budget_moved(300, None, 1.0)
    'How many optimizer steps the run has is not known yet. The learning rate is held until it is.'
    """
    if now is None:
        return "How many optimizer steps the run has is not known yet. The learning rate is held until it is."
    former = "" if before is None else f", {before} before it was resumed"
    goes_on = f"The learning rate goes on at {100 * multiple:.3g} % of its level and falls to zero at that end"
    return f"The run has {now} optimizer steps{former}. {goes_on if multiple < 1 else 'It falls to zero at that end'}."


def _falls(end: str) -> str:
    return f"from here on the learning rate falls linearly to zero at {end}"


# --- the search for the first learning rate ---------------------------------------------------------------------------

RATE_KEPT = "that is near enough, and it is kept"
RATE_LOW = "one update is no reason to raise it by so little, and it stays as it was given"
RATE_STAYS = "it stays as it was given"
UNCHECKED = "it is annealed only by name (anneal=True)"


def search_seen(
    against: str, readings: int, before: float, estimate: float | None, horizon: int, found: bool, cost: float
) -> str:
    """What a search has seen.

    Args:
        against: why nothing could be read; empty if it could.
        readings: how many there were.
        before: the loss before training.
        estimate: the best rate, in units of the one given; ``None`` if the readings do not tell.
        horizon: the steps that it is for.
        found: whether it lies between two readings.
        cost: of the readings, in steps.

    >>> print(search_seen("", 5, 2.3, 0.81, 450, True, 6.7))
    5 readings of the loss along the first update, worth 6.7 steps: the best rate for 450 steps is about 0.81 times ...
    """
    if against:
        return f"the learning rate could not be checked: {against}"
    if not before < float("inf"):
        return "the learning rate could not be checked: the loss before training is not finite"
    along = f"{readings} reading{plural(readings)} of the loss along the first update"
    along += f", worth {cost:.2g} step{plural(cost)}" if cost else ""
    if estimate is None:
        return f"{along}: none is lower than before it, so the best rate is not known"
    if not found:
        does = "still falls at the last" if estimate > 1 else "is higher than before it down to the last"
        return f"{along}: the loss {does}, at about {estimate:.2g} times the rate given"
    return f"{along}: the best rate for {horizon} steps is about {estimate:.2g} times the one given"


def wrecked(tries: int, most: int) -> str:
    """The losses of the steps lie far above that before training.

    >>> wrecked(1, 4)
    'three losses in a row lie far above the loss before training (1 of at most 4 times)'
    """
    return f"three losses in a row lie far above the loss before training ({tries} of at most {most} times)"


def confirmed(monitor: str, value: float, untrained: float) -> str:
    """The monitor confirms the rate that the search has chosen."""
    return f"the rate that the search chose is confirmed: {monitor} {arrow(untrained, value)} since before training"


def not_confirmed(monitor: str, value: float, untrained: float) -> str:
    """The monitor does not confirm it."""
    return (
        f"the rate that the search chose is taken back: {monitor} is {value:.4g}, not clearly better than "
        f"{untrained:.4g} before training, whatever the training loss says"
    )


# --- the policies that count epochs -----------------------------------------------------------------------------------


def rate_is_tried(epochs: int) -> str:
    """Halving, within a period."""
    return f"this learning rate is tried for {epochs} more epoch{plural(epochs)}"


def period_performed(epochs: int, performed: bool, well: int, before: int, least: float) -> str:
    """Halving, at the end of a period: whether it performed well, and what follows.

    Args:
        epochs: of the period.
        performed: whether it performed well.
        well: how many periods in a row have, with this one.
        before: how many had before it.
        least: relative improvement that is asked for.
    """
    tried = f"{epochs} epoch{plural(epochs)} at this learning rate"
    if well >= 2:
        return f"{tried} performed well, as did the period before: a range is found"
    if performed:
        return f"{tried} performed well, no range is found yet"
    what = "the range is left" if before >= 2 else "no range is found yet"
    return f"{tried} improved the best by no more than {100 * least:g} %, {what}"


def next_decay(epochs: int) -> str:
    """Exponential decay, within a period."""
    return f"the next decay comes in {epochs} epoch{plural(epochs)}"


def decay(converged: bool) -> str:
    """Exponential decay, at the end of a period."""
    return "exponential decay, slower since the run has converged" if converged else "exponential decay"
