"""The records: frozen, and each prints as one sentence."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from dataclasses import FrozenInstanceError, fields, is_dataclass

import pytest

from lightning_lr.engine import records
from lightning_lr.engine.history.statistics import Trend
from lightning_lr.engine.records import (
    Adjustment,
    Decision,
    Diagnosis,
    Finding,
    JournalEntry,
    MetricView,
    MetricViews,
    Rate,
    Reading,
    TrainWindow,
)
from lightning_lr.engine.vocabulary import Action, Condition, Mode, Verdict, Vote, Word
from tests.helpers.readings import INF, NAN

RECORDS = [c for _, c in inspect.getmembers(records, inspect.isclass) if c.__module__ == records.__name__]

FALLING = Trend(-0.1, 0.01, 5, Verdict.YES, Verdict.NO)
UNKNOWN = Trend(0.0, INF, 1, Verdict.UNDECIDED, Verdict.UNDECIDED)


def view(sign=1, value=0.5, fresh=True, best=0.4, since_best=2, values=(0.7, 0.6, 0.5)) -> MetricView:
    return MetricView("m", sign, value, fresh, values, 1.0, best, 3, since_best, len(values), len(values))


DECISION = Decision(4, 3, 40, Action.REDUCE, Condition.PLATEAU, 0.5, {"lr-SGD": 0.1}, {"lr-SGD": 0.05}, "plateau: flat")
READING = Reading(4, 3, 40, {"val_loss": 0.5})
FINDING = Finding(Condition.PLATEAU, Verdict.YES, "m", 3.0, 1.0, "no new best for 3 checks")
DIAGNOSIS = Diagnosis(Condition.PLATEAU, (FINDING,), "flat")
ADJUSTMENT = Adjustment({"lr-SGD": Rate(0.1, 0.5, 0.05)}, notes=("min_lr held lr-SGD",))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_record_is_a_frozen_dataclass_that_explains_its_fields(record):
    assert is_dataclass(record)
    with pytest.raises(FrozenInstanceError):
        object.__new__(record).anything = 1
    assert record.__str__ is not object.__str__, "prints as a sentence"
    for field in fields(record):
        assert f"        {field.name}: " in (record.__doc__ or ""), f"{field.name} is not explained"


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (Rate(0.1, 0.5, 0.05), "0.05 (schedule 0.1 × 0.5)"),
        (TrainWindow(1.5, (1.6, 1.4), 20), "training loss 1.5 over 20 steps"),
        (TrainWindow(1.5, (1.6, 1.4), 20, 3), "training loss 1.5 over 20 steps, 3 not finite"),
        (READING, "check 4 (epoch 3, step 40): val_loss 0.5"),
        (Reading(4, 3, 40), "check 4 (epoch 3, step 40): no fresh monitor"),
        (
            Reading(4, 3, 40, {"a": 1.0, "b": 2.0}, TrainWindow(1.5, (1.5,), 10)),
            "check 4 (epoch 3, step 40): a 1, b 2; training loss 1.5 over 10 steps",
        ),
        (FALLING, "slope -0.1 ± 0.01 over 5 values"),
        (UNKNOWN, "slope not known yet (1 value)"),
        (view(), "m 0.5, best 0.4 (2 checks ago), slope -0.1 ± 0 over 3 values"),
        (view(since_best=1), "m 0.5, best 0.4 (1 check ago), slope -0.1 ± 0 over 3 values"),
        # As the user sees it: an accuracy that rises has a rising slope.
        (view(-1, -0.5, best=-0.6), "m 0.5, best 0.6 (2 checks ago), slope +0.1 ± 0 over 3 values"),
        (view(-1, -0.5, values=(-0.5, -0.5, -0.5)), "m 0.5, best -0.4 (2 checks ago), slope +0 ± 0 over 3 values"),
        (view(value=NAN, values=(0.5,)), "m is not finite, best 0.4 (2 checks ago), slope not known yet (1 value)"),
        (view(value=NAN, best=NAN), "m is not finite, no finite value yet, slope -0.1 ± 0 over 3 values"),
        (
            view(value=NAN, fresh=False),
            "m has no new value, best 0.4 (2 checks ago), slope -0.1 ± 0 over 3 values",
        ),
        (FINDING, "plateau: yes (no new best for 3 checks)"),
        (DIAGNOSIS, "plateau: flat"),
        (DECISION, "check 4 · epoch 3 · plateau: flat"),
        (ADJUSTMENT, "learning rate now lr-SGD 0.05; min_lr held lr-SGD"),
        (
            JournalEntry(READING, MetricViews(4, ()), DIAGNOSIS, DECISION, ADJUSTMENT),
            "check 4 · epoch 3 · plateau: flat",
        ),
    ],
)
def test_sentences(record, sentence):
    assert str(record) == sentence


@pytest.mark.parametrize(
    ("sign", "oriented", "shown"), [(1, 0.5, "0.5"), (-1, -0.5, "0.5"), (-1, 0.0, "0.0"), (1, -0.0, "0.0")]
)
def test_a_number_is_shown_as_it_was_logged_and_zero_has_no_sign(sign, oriented, shown):
    assert repr(view(sign).shown(oriented)) == shown


def test_fresh_monitors_are_those_with_a_value_at_this_check():
    fresh, stale = view(), view(fresh=False)
    assert MetricViews(0, (fresh, stale)).fresh == (fresh,)


def test_a_condition_is_one_object_and_plain_text():
    own = Condition("late_start")
    for one in (Condition.PLATEAU, own):
        assert Condition(str(one)) is pickle.loads(pickle.dumps(one)) is copy.deepcopy(one) is one
        assert type(str(one)) is str
        assert json.loads(json.dumps({one: one})) == {str(one): str(one)}


@pytest.mark.parametrize("word", [Mode, Verdict, Vote, Action], ids=lambda word: word.__name__)
def test_words_are_plain_text_wherever_they_are_written(word: type[Word]):
    for one in word:
        assert one == one.value
        assert f"{one}" == str(one) == f"{one:s}" == one.value
        assert word(one.value) is one
