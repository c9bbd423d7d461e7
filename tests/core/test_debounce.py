"""Patience, cooldown and warm-up checks.

A script has one letter a check: ``y`` plateau, ``u`` cannot be told, ``n`` ruled out, ``-`` nobody could ask,
``!`` divergence. A timeline has one letter a check: ``A`` time to act, ``p`` patience, ``c`` cooling down,
``w`` warm-up, ``.`` nothing to wait for.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.engine.debounce import Debounce
from lightning_lr.engine.records import Diagnosis, Finding
from lightning_lr.engine.vocabulary import Condition, Verdict

VERDICTS = {"y": Verdict.YES, "n": Verdict.NO, "u": Verdict.UNDECIDED}


def diagnosis(letter: str, condition: Condition = Condition.PLATEAU) -> Diagnosis:
    if letter == "!":
        return Diagnosis(Condition.DIVERGENCE, (), "lost", frozenset({Condition.DIVERGENCE}), urgent=True)
    if letter == "-":
        return Diagnosis(Condition.HEALTHY, (), "nothing fresh")
    finding = Finding(condition, VERDICTS[letter], "val_loss", 0.0, 1.0, "flat")
    suspected = frozenset() if letter == "n" else frozenset({condition})
    return Diagnosis(condition if letter == "y" else Condition.HEALTHY, (finding,), "flat", suspected)


def timeline(debounce: Debounce, script: str, patience: int = 1) -> str:
    """Every time to act is acted on."""
    letters = []
    for letter in script:
        seen = diagnosis(letter)
        waiting = debounce.wait(seen, patience)
        if seen.condition is Condition.HEALTHY:
            letters.append(".")
            continue
        kinds = {"": "A", "checks in a row": "p", "cooling down": "c", "warm-up": "w"}
        letters.append(next(kind for text, kind in kinds.items() if (text in waiting if text else not waiting)))
        if not waiting:
            debounce.adjusted()
    return "".join(letters)


@pytest.mark.parametrize(
    ("why", "patience", "script", "expected"),
    [
        ("patience 1 acts at once", 1, "yy", "AA"),
        ("patience 2 acts on the second", 2, "yyyy", "pApA"),
        ("patience 3 acts on the third, not on the fourth", 3, "yyyy", "ppAp"),
        ("one check that rules it out begins anew", 3, "yynyyy", "pp.ppA"),
        ("undecided counts", 3, "uuy", "..A"),
        ("undecided counts between as well", 3, "yuy", "p.A"),
        ("undecided never acts, however long", 2, "uuuuu", "....."),
        ("and acts as soon as it is yes", 2, "uuuuuy", ".....A"),
        ("a check at which nobody could ask neither counts ...", 3, "y-y", "p.p"),
        ("... nor begins anew: validation at every second check", 3, "y-y-y", "p.p.A"),
        ("with nothing but such checks nothing happens", 1, "---", "..."),
    ],
)
def test_patience(why, patience, script, expected):
    assert timeline(Debounce(), script, patience) == expected, why


@pytest.mark.parametrize(
    ("why", "cooldown", "patience", "script", "expected"),
    [
        ("none", 0, 1, "yyy", "AAA"),
        ("one check is left out", 1, 1, "yyyyy", "AcAcA"),
        ("three are", 3, 1, "yyyyyy", "AcccAc"),
        ("the checks that cool down count for patience", 2, 3, "yyyyyy", "ppAccA"),
        ("a long patience outlasts the cooldown", 1, 3, "yyyyyy", "ppAcpA"),
        ("healthy checks cool down as well", 2, 1, "ynny", "A..A"),
        ("checks with nothing fresh cool down as well", 2, 1, "y--y", "A..A"),
        ("urgent conditions do not wait", 3, 1, "y!!y", "AAAc"),
        ("and begin the cooldown anew", 2, 1, "yc!yyy".replace("c", "y"), "AcAccA"),
    ],
)
def test_cooldown(why, cooldown, patience, script, expected):
    assert timeline(Debounce(cooldown), script, patience) == expected, why


@pytest.mark.parametrize(
    ("why", "warmup", "patience", "script", "expected"),
    [
        ("none", 0, 1, "yy", "AA"),
        ("two checks", 2, 1, "yyyy", "wwAA"),
        ("they count for patience", 2, 3, "yyyy", "wwAp"),
        ("urgent conditions do not wait", 3, 1, "!yyy", "AwwA"),
        ("checks with nothing fresh are checks", 2, 1, "--y", "..A"),
    ],
)
def test_warmup_checks(why, warmup, patience, script, expected):
    assert timeline(Debounce(warmup_checks=warmup), script, patience) == expected, why


@pytest.mark.parametrize(
    ("debounce", "adjusted", "patience", "said"),
    [
        (Debounce(), False, 3, ["1 of 3 checks in a row", "2 of 3 checks in a row", ""]),
        (Debounce(), False, 1, ["", "", ""]),
        (Debounce(cooldown=2), True, 1, ["cooling down, 2 checks left", "cooling down, 1 check left", ""]),
        (Debounce(warmup_checks=2), False, 1, ["2 of 2 warm-up checks left", "1 of 2 warm-up checks left", ""]),
    ],
)
def test_what_is_waited_for_is_said(debounce, adjusted, patience, said):
    if adjusted:
        debounce.adjusted()
    assert [debounce.wait(diagnosis("y"), patience) for _ in said] == said


def test_conditions_are_counted_apart():
    debounce = Debounce()
    both = frozenset({Condition.PLATEAU, Condition.OVERFITTING})
    debounce.wait(Diagnosis(Condition.OVERFITTING, (), "", both), 3)
    debounce.wait(diagnosis("y"), 3)
    assert debounce.state.streaks == {"plateau": 2, "overfitting": 1}, "nobody asked about overfitting again"
    debounce.wait(diagnosis("n"), 3)
    assert debounce.state.streaks == {"overfitting": 1}


def test_urgent_conditions_wait_for_nothing():
    debounce = Debounce(cooldown=5, warmup_checks=5)
    debounce.adjusted()
    assert debounce.wait(diagnosis("!"), patience=9) == ""


@given(st.text("ynu-!", max_size=30), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_two_adjustments_that_are_not_urgent_are_never_closer_than_cooldown_and_patience(
    script, patience, cooldown, warmup
):
    line = timeline(Debounce(cooldown, warmup), script, patience)
    calm = [check for check, (act, letter) in enumerate(zip(line, script, strict=True)) if act == "A" and letter != "!"]
    assert all(later - earlier >= max(cooldown + 1, patience) for earlier, later in pairwise(calm))
    assert all(check >= warmup for check in calm)
    assert all(script[check] in "y!" for check, act in enumerate(line) if act == "A"), "undecided never acts"
