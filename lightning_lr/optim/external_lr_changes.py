"""What a rate that we did not write means: the user's own code, a new group, or a resumed run.

Plain numbers in, plain numbers and sentences out. We share the groups with schedulers, finetuning callbacks and the
user's own loops, so a rate that differs from the last one written is no error: another writer set it, and is followed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 3  # as many groups as a sentence names one by one


def rescheduled(found: float, scheduled: float, applied: float, sets: bool | None = None) -> float:
    """The scheduled rate that an outside writer had in mind.

    The writer may have set the rate (``found`` is the new schedule) or have multiplied what was there, which was our
    applied rate (then the schedule changes by the same ratio). Where it is not known which of the two it does, the
    reading that is the smaller change, in log, is taken; so our scale never enters twice. Where the scale is 1 both
    are the same.

    Args:
        found: what the group holds.
        scheduled: what it was scheduled for before.
        applied: what it held before.
        sets: what :func:`habit` told of this writer.

    >>> rescheduled(0.1, scheduled=0.1, applied=0.05)  # the schedule's own rate was set again
    0.1
    >>> rescheduled(0.005, scheduled=0.1, applied=0.05)  # divided by ten
    0.01
    >>> rescheduled(0.005, scheduled=0.1, applied=0.05, sets=True)
    0.005
    """
    if applied == scheduled or not _comparable(found, scheduled, applied):
        return found
    if sets is None:
        set_anew, multiplied = _changes(found, scheduled, applied)
        sets = set_anew <= multiplied
    return found if sets else scheduled * (found / applied)


def habit(found: float, scheduled: float, applied: float) -> bool | None:
    """Whether a writer clearly sets rates (``True``) or multiplies what is there (``False``); ``None`` if unclear.

    Clear is a change that is less than a third of what the other reading would make of it. Small steps tell: a writer
    of each step or epoch is known by its first write after a cut, and believed when it later makes a large one.

    >>> habit(0.095, scheduled=0.1, applied=0.05), habit(0.0475, scheduled=0.1, applied=0.05)
    (True, False)
    >>> habit(0.01, scheduled=0.1, applied=0.05)
    """
    if applied == scheduled or not _comparable(found, scheduled, applied):
        return None
    set_anew, multiplied = _changes(found, scheduled, applied)
    return True if 3 * set_anew < multiplied else False if 3 * multiplied < set_anew else None


def _comparable(*rates: float) -> bool:
    return all(0 < rate < math.inf for rate in rates)


def _changes(found: float, scheduled: float, applied: float) -> tuple[float, float]:
    """How large a change it was, if the rate was set, and if it was multiplied."""
    return abs(math.log(found / scheduled)), abs(math.log(found / applied))


def same(one: float, other: float) -> bool:
    """Whether two rates are one and the same; two that are not a number are."""
    return one == other or (math.isnan(one) and math.isnan(other))


def listed(groups: Sequence[int]) -> str:
    """The groups in words.

    >>> listed([2]), listed([0, 1, 2, 3, 4])
    ('parameter group 2', 'parameter groups 0, 1, 2 and 2 more')
    """
    shown = ", ".join(map(str, groups[:SHOWN]))
    more = f" and {len(groups) - SHOWN} more" if len(groups) > SHOWN else ""
    return f"parameter group{'s' if len(groups) > 1 else ''} {shown}{more}"


def changed_outside(groups: Sequence[int], before: float, found: float, scheduled: float) -> str:
    """The sentence for a write that was not ours; the numbers are those of the first group named."""
    return (
        f"The learning rate of {listed(groups)} was changed from outside (group {groups[0]}: {before:.4g} → "
        f"{found:.4g}); it is followed, the schedule is taken to be at {scheduled:.4g}."
    )


def resumed(found: Sequence[float], state: Mapping[str, Any]) -> tuple[list[float], list[float], list[str]]:
    """Scheduled rates and scales of a resumed run, and what must be said about them.

    Only the rates themselves show whether they were restored (then they carry the scale already) or are fresh:
    so they are compared with those saved. A rate that is neither is the user's own choice, and has a scale of 1.

    Args:
        found: what the groups hold after the optimizer's own state was restored, if it was.
        state: what ``LRScale.state`` gave.
    """
    saved = list(zip(state.get("scale", ()), state.get("scheduled", ()), state.get("written", ()), strict=False))
    scheduled, scales, changed = list(found), [1.0] * len(found), []
    for i, (rate, (scale, of_schedule, written)) in enumerate(zip(found, saved, strict=False)):
        # The rate may have been through a tensor of single precision since.
        if any(same(rate, known) or math.isclose(rate, known, rel_tol=1e-6) for known in (written, of_schedule)):
            scheduled[i], scales[i] = of_schedule, scale
        else:
            changed.append(i)
    notes = []
    if len(saved) != len(found):
        notes.append(
            f"The checkpoint holds the scales of {len(saved)} parameter group(s) and the optimizer has {len(found)}; "
            f"the first {min(len(saved), len(found))} continue, any other starts with a scale of 1."
        )
    if changed:
        first = changed[0]
        _, of_schedule, written = saved[first]
        notes.append(
            f"The learning rate of {listed(changed)} is not the one of the checkpoint (group {first}: "
            f"{found[first]:.4g}; saved {written:.4g}, schedule {of_schedule:.4g}); it is taken as your own choice, "
            "with a scale of 1."
        )
    return scheduled, scales, notes
