"""One check ↔ one line of text, and what is said of a line that cannot be read."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import SCHEMA, entry_line, header_line, parse, read_header, read_line
from lightning_lr.engine.policies import PRESETS, Policy, Response
from lightning_lr.engine.records import Adjustment, JournalEntry, Rate, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.errors import JournalError
from tests.helpers.readings import INF, NAN, Run, Says, few, names, rates, reading_lists, settings_of, window

adjustments = st.builds(Adjustment, st.dictionaries(names, rates, max_size=2), st.booleans(), st.tuples(names))


def entry_of(reading: Reading, settings: Settings | None = None, adjustment: Adjustment | None = None) -> JournalEntry:
    controller = DecisionEngine(settings or Settings())
    decision = controller.check(reading)
    assert controller.views is not None
    assert controller.diagnosis is not None
    return JournalEntry(reading, controller.views, controller.diagnosis, decision, adjustment or Adjustment({}))


READING = Reading(
    check=3,
    epoch=2,
    step=30,
    metrics={"val_loss": 0.1, "weird|näme\n\u2028\x85": NAN, "a": INF, "b": -INF},
    train=window(0.1, NAN, 1 / 3),
    train_metric=NAN,
    rates={"lr-SGD/pg1": Rate(0.1, 0.5, 0.05)},
    snapshot_check=-1,
    progress=0.25,
    probes={"flip_rate": 0.1, "flip_rate/net.0": NAN},
)
LINE = entry_line(entry_of(READING))
HEADER = header_line(Settings(), {"world_size": 2})


def changed(line: str, **fields: object) -> str:
    return json.dumps({**json.loads(line), **fields})


# --- there and back ---------------------------------------------------------------------------------------------------


@few
@given(st.data(), settings_of(("val_loss", "val|b\n")), adjustments)
def test_an_entry_comes_back_as_it_was(data, settings, adjustment):
    for reading in data.draw(reading_lists(("val_loss", "val|b\n"), longest=3)):
        entry = entry_of(reading, settings, adjustment)
        line = entry_line(entry)
        assert line.splitlines() == [line], "one line, whatever the names hold"
        back = read_line(line)
        assert repr(back.reading) == repr(reading)
        assert repr(back.decision) == repr(entry.decision)
        assert repr(back.adjustment) == repr(adjustment)
        assert back.suspected == tuple(sorted(entry.diagnosis.suspected))


@pytest.mark.parametrize(
    ("number", "written"), [(NAN, '"nan"'), (INF, '"inf"'), (-INF, '"-inf"'), (0.1, "0.1"), (1e-45, "1e-45")]
)
def test_a_number_is_written_so_that_every_json_reader_can_read_it(number, written):
    line = entry_line(entry_of(Reading(0, 0, 0, {"val_loss": number})))
    assert f'"metrics": {{"val_loss": {written}}}' in line
    json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert repr(read_line(line).reading.metrics["val_loss"]) == repr(number)


@given(settings_of(("val_loss", "损失|b")), st.dictionaries(names, st.integers() | names, max_size=3))
def test_a_header_comes_back_as_it_was(settings, run):
    line = header_line(settings, run)
    assert len(line.splitlines()) == 1
    assert read_header(line) == (settings, run)


def test_a_policy_of_the_users_own_class_replays_as_a_table_with_its_numbers():
    @dataclass(frozen=True)
    class Mine(Policy):
        wisdom: int = 3

    mine = Mine("mine", {Condition.PLATEAU: Response(Action.REDUCE, 0.5, patience=7)}, max_failed_restores=2)
    back = read_header(header_line(Settings(policy=mine), {}))[0].policy
    assert type(back) is Policy
    assert {**vars(back), "wisdom": 3} == vars(mine)


def test_lines_are_read_by_their_kind_and_schema():
    assert json.loads(HEADER)["kind"] == "header"
    assert json.loads(LINE)["kind"] == "check"
    assert parse(LINE)["schema"] == parse(HEADER)["schema"] == SCHEMA


def test_a_field_that_this_version_does_not_know_is_left_alone():
    assert repr(read_line(changed(LINE, weather="fine"))) == repr(read_line(LINE))


def test_the_numbers_of_each_signal_are_those_that_the_user_logged():
    controller, line = DecisionEngine(Settings(monitors=("val_loss",))), ""
    for check, value in enumerate([1.0, 0.5, 0.75]):
        reading = Reading(check, check, check, {"val_loss": value}, window(0.5))
        decision = controller.check(reading)
        line = entry_line(JournalEntry(reading, controller.views, controller.diagnosis, decision, Adjustment({})))
    views = json.loads(line)["views"]
    assert set(views) == {"val_loss", "gap of val_loss", "train_loss"}
    assert (views["val_loss"]["best"], views["val_loss"]["since_best"]) == (0.5, 1)
    assert views["gap of val_loss"]["best"] == 0.0


def test_a_check_that_cools_down_shows_the_condition_the_hold_and_the_wait():
    policy = Policy("p", {Condition.PLATEAU: Response(Action.REDUCE, 0.5)})
    run = Run(DecisionEngine(Settings(policy=policy, cooldown=1), [Says(Condition.PLATEAU, "yyy")]))
    lines = []
    for _ in range(3):
        run.check(1.0)
        entry = JournalEntry(
            run.readings[-1], run.controller.views, run.controller.diagnosis, run.decisions[-1], Adjustment({})
        )
        lines.append(read_line(entry_line(entry)))
    assert run.actions == "r.r"
    assert lines[1].decision.condition is Condition.PLATEAU
    assert lines[1].decision.reason == "plateau: val_loss is said to be so; cooling down, 1 check left"
    assert lines[1].suspected == ("plateau",)


# --- lines that cannot be read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "line", "message"),
    [
        ("empty", "", "Expected one JSON object a line but got ''. The line may have been cut off."),
        ("cut off", LINE[:12],
         "Expected one JSON object a line but got '{\"schema\": 1'. The line may have been cut off."),
        ("no object", "[1, 2]", "Expected one JSON object a line but got '[1, 2]'. The line may have been cut off."),
        ("another file", '{"loss": 1}', "Expected a journal line with a schema number but got '{\"loss\": 1}'."),
        ("a later schema", changed(LINE, schema=SCHEMA + 1),
         f"Expected a journal of schema {SCHEMA} or earlier but got schema {SCHEMA + 1}. Update lightning-lr."),
        ("a header", HEADER, "Expected a journal's check line but got a line of kind 'header'."),
        ("no kind", '{"schema": 1}', "Expected a journal's check line but got a line of kind None."),
        ("a part is missing", '{"schema": 1, "kind": "check"}',
         "Expected a complete check line but 'reading' is missing."),
        ("an unknown action", LINE.replace('"action": "hold"', '"action": "dance"'),
         "Expected a complete check line but a value in it is wrong: 'dance' is not a valid Action."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_line(why, line, message):
    with pytest.raises(JournalError) as caught:
        read_line(line)
    assert str(caught.value) == message, why


@pytest.mark.parametrize(
    ("why", "line", "message"),
    [
        ("a check", LINE, "Expected a journal's header line but got a line of kind 'check'."),
        ("no settings", '{"schema": 1, "kind": "header"}',
         "Expected a complete header line but 'settings' is missing."),
        ("no policy", '{"schema": 1, "kind": "header", "settings": {}}',
         "Expected a complete header line but 'policy' is missing."),
        ("a mode that there is not", HEADER.replace('"mode": "min"', '"mode": "auto"'),
         "Expected a complete header line but a value in it is wrong: 'auto' is not a valid Mode."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_header(why, line, message):
    with pytest.raises(JournalError) as caught:
        read_header(line)
    assert str(caught.value) == message, why


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.data(), st.sampled_from([(LINE, read_line), (HEADER, read_header)]), json_values)
def test_whatever_is_wrong_it_is_a_journal_error(data, kind, junk):
    """One value somewhere in a good line is replaced by junk; what is no journal error is a good line."""
    line, read = kind
    record = json.loads(line)
    place = record
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = junk
    problem = ""
    try:
        read(json.dumps(record))
    except JournalError as error:
        problem = str(error)
    assert not problem or problem.startswith("Expected ")


# --- replay -----------------------------------------------------------------------------------------------------------


@few
@given(settings_of(("val_loss", "val_b")), reading_lists(("val_loss", "val_b")))
def test_replaying_a_journal_gives_the_same_decisions_sentence_for_sentence(settings, readings):
    controller, lines = DecisionEngine(settings), [header_line(settings, {})]
    for reading in readings:
        decision = controller.check(reading)
        assert controller.views is not None
        assert controller.diagnosis is not None
        adjustment = Adjustment(reading.rates)
        lines.append(entry_line(JournalEntry(reading, controller.views, controller.diagnosis, decision, adjustment)))

    again = DecisionEngine(read_header(lines[0])[0])
    for line in map(read_line, lines[1:]):
        decision = again.check(line.reading)
        assert str(decision) == str(line.decision)
        assert repr(decision) == repr(line.decision)


def test_what_if_the_settings_were_others():
    run = Run(DecisionEngine(Settings()))
    run.feed([1, 0.8, 0.7, *[0.65] * 12])
    assert run.actions.index("b") == 12
    bold = DecisionEngine(replace(Settings(), policy=replace(PRESETS["auto"], min_probability=0.6)))
    assert [bold.check(reading).action for reading in run.readings].index(Action.RESTORE) == 10
