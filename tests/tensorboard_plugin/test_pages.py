"""Pages: every row is always the newest under some tag, and the file grows linearly."""

from __future__ import annotations

import json
import math
import re
from types import SimpleNamespace

import pytest

from lightning_lr.engine.detectors import KIND_MARKS, default_detectors, look_of
from lightning_lr.engine.detectors.base import MARKS
from lightning_lr.engine.vocabulary import Condition
from lightning_lr.tensorboard_plugin.assets import static_files
from lightning_lr.tensorboard_plugin.pages import (
    MOST_RATES,
    CheckRow,
    PageError,
    PageName,
    Paging,
    checks_page,
    decisions_page,
    read_page,
)
from tests.helpers.tab_runs import TabRun
from tests.helpers.tab_server import ROOT

JOURNALS = ROOT / "tests" / "golden" / "journals"

RATES = {"lr-SGD": 0.1}


def row(check: int, value: float = 0.5, rates: dict[str, float] = RATES) -> CheckRow:
    return CheckRow(check, check, check * 10, value, {"val_loss": value}, rates, rates)


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 99, 100, 101, 110, 257, 1000])
def test_the_newest_under_each_tag_holds_every_row(rows):
    """Whatever a server drops of a tag's older values, nothing is lost."""
    paging, newest = Paging[int](), {}
    for number in range(rows):
        newest.update(paging.add(number))
    assert {number for held in newest.values() for number in held} == set(range(rows))


def test_a_row_is_written_a_bounded_number_of_times():
    paging, times = Paging[int](), [0] * 1000
    sizes = []
    for number in range(1000):
        for _, held in paging.add(number):
            sizes.append(len(held))
            for row in held:
                times[row] += 1
    assert sum(times) / 1000 == 6.5
    assert max(times) == 11
    assert max(sizes) == 100


def test_the_tab_draws_every_mark():
    script = static_files()["/conditions.js"].read_text(encoding="utf-8")
    paths = script.partition("const PATHS = {")[2].partition("}")[0]
    assert set(re.findall(r'^  "?([a-z-]+)"?:', paths, re.MULTILINE)) == MARKS | {"circle-open", *KIND_MARKS.values()}
    assert {detector.mark for detector in default_detectors()} <= MARKS


def test_the_tab_names_every_number_of_a_decision():
    """All that the decisions of the golden runs rest on; what has no name of its own has one that reads as one."""
    script = static_files()["/evidence.js"].read_text(encoding="utf-8")
    named = set(re.findall(r"^  (\w+): (?:\[|null)", script.partition("const NAMES = {")[2], re.MULTILINE))
    plain = {"gradient_disparity", "relative_disparity", "loss_stands_still", "output_is_still", "steps"}
    lines = [json.loads(line) for path in JOURNALS.glob("*.jsonl") for line in path.read_text().splitlines()]
    numbers = {name.split("/")[0] for line in lines for name in line.get("decision", {}).get("evidence", {})}
    unnamed = {name for name in numbers - named if not re.match(r"way_|loss at ", name) and not name.endswith("_error")}
    assert len(numbers) > 40
    assert unnamed == plain


def test_every_probability_of_a_page_has_its_color(tmp_path):
    """Also if the newest check states none."""
    run = TabRun(tmp_path, stated=True)
    pages = []
    writer = SimpleNamespace(file_writer=SimpleNamespace(add_summary=lambda summary, _: pages.append(summary)))
    for check in range(3):
        entry = run.next_entry()
        if check == 2:
            object.__setattr__(entry.decision, "probabilities", {"plateau": None})
        run.tab.write(entry, 0, [writer])
    run.close()
    newest = read_page(pages[-1].value[0].tensor.string_val[0].decode())
    assert newest["probabilities"] == {"plateau": look_of(Condition.PLATEAU, ())[0]}
    assert [row[-1] for row in newest["rows"]] == [0.0, 0.0166667, None]


def test_tags_are_read_back():
    name = PageName("lr_controller/b/tab/c", "decisions", 0x19A, "p0000100")
    assert PageName.parse(name.tag) == name
    for tag in ("", "x", "lr_controller/tab/checks/zz/r0", "lr_controller/tab/others/1/r0", "tab/checks/1"):
        assert PageName.parse(tag) is None


def test_columns_are_the_union_of_what_the_rows_have():
    """A monitor that is not there at each check, and a group that came later."""
    first = CheckRow(0, 0, 9, math.nan, {"a": 1.0}, RATES, RATES)
    second = CheckRow(1, 1, 19, math.inf, {"b": 2.0}, RATES, {**RATES, "new": 0.2})
    page = read_page(checks_page([first, second], "train_loss"))
    assert (page["monitors"], page["rates"], page["before"]) == (["a", "b"], ["lr-SGD", "new"], [0.1, None])
    assert page["rows"] == [[0, 0, 9, None, 1.0, None, 0.1, None], [1, 1, 19, "inf", None, 2.0, 0.1, 0.2]]


def test_a_hundred_groups_do_not_make_a_row_long():
    page = read_page(checks_page([row(0, rates={f"g{i}": 0.1 for i in range(100)})], "train_loss"))
    assert len(page["rates"]) == MOST_RATES
    assert page["rates_left_out"] == 100 - MOST_RATES


def test_a_decision_keeps_its_words_and_shortens_its_numbers():
    text = decisions_page([{"reason": "a|b <script>\n漢", "evidence": {"score": 1 / 3, "none": math.nan}, "check": 3}])
    assert read_page(text)["decisions"] == [
        {"reason": "a|b <script>\n漢", "evidence": {"score": 0.333333, "none": None}, "check": 3}
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ('{"schema":1,"ro', "not JSON"),
        ("[]", "no page"),
        ('{"schema":"1"}', "no page"),
        (json.dumps({"schema": 2}), "later lightning_lr"),
    ],
)
def test_what_is_no_page_is_said(text, said):
    with pytest.raises(PageError, match=said):
        read_page(text)
