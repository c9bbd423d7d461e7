"""The routes over real event files, through TensorBoard's own data providers, the one in Python and the one in Rust."""

from __future__ import annotations

import importlib
import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="the runs are written by torch's SummaryWriter", exc_type=ImportError)
import tensorboard_data_server
from lightning.pytorch.loggers import TensorBoardLogger
from werkzeug.test import Client

from lightning_lr.tensorboard_plugin import plugin as plugin_module
from lightning_lr.tensorboard_plugin.assets import plotly_file, static_files
from lightning_lr.tensorboard_plugin.plugin import LearningRateTab
from tests.helpers.scripted import Scripted, data, eager, trainer
from tests.helpers.tab_runs import TabRun, plain_run
from tests.helpers.tab_server import ROOT, serving

CHECKS, EVERY = 1234, 9


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    logdir = tmp_path_factory.mktemp("runs")
    TabRun(logdir / "long", every=EVERY).go(CHECKS).close()
    TabRun(logdir / "a" / "nested run", every=0).go(3).close()
    TabRun(logdir / "resumed", every=10).go(60).close()
    TabRun(logdir / "resumed", every=10, checks=40).go(15).close()
    plain_run(logdir / "plain")
    return logdir


@pytest.fixture(scope="module", params=["false", "true"], ids=["python", "rust"])
def server(request, runs):
    if request.param == "true" and tensorboard_data_server.server_binary() is None:
        pytest.skip("this wheel of tensorboard-data-server has no binary")
    with serving(runs, "--load_fast", request.param) as server:
        server.wait_for("long", CHECKS)
        server.wait_for("resumed", 60)
        yield server


def test_every_check_and_every_decision_arrives(server):
    """Scalars are sampled to 1000, texts to 10 or 100; our pages lose nothing."""
    pages = server.get("/pages", run="long")["pages"]
    rows = {row[0]: row for page in pages if page["kind"] == "checks" for row in page["rows"]}
    decisions = {d["check"]: d for page in pages if page["kind"] == "decisions" for d in page["decisions"]}
    assert sorted(rows) == list(range(CHECKS))
    assert sorted(decisions) == list(range(EVERY - 1, CHECKS, EVERY))
    assert [d["number"] for _, d in sorted(decisions.items())] == list(range(1, len(decisions) + 1))
    assert rows[500][1:3] == [500, 5009]
    assert decisions[8]["reason"].startswith("divergence: val_loss did what it does")
    reviews = {r["check"]: r for page in pages if page["kind"] == "reviews" for r in page["reviews"]}
    assert sorted(reviews) == list(range(EVERY - 1, CHECKS - 3, EVERY))
    assert reviews[8] == {
        "check": 8,
        "at": 11,
        "brought": "helped: val_loss gained 0.012 a check before, 0.008 since (3 checks)",
    }
    assert decisions[8]["evidence"]["slope_error"] == 0.004
    assert (decisions[8]["kind"], decisions[8]["on"]) == ("divergence", "val_loss")


def test_runs_are_listed_with_and_without_data(server):
    found = {run["run"]: run for run in server.get("/runs")["runs"]}
    assert list(found) == ["a/nested run", "long", "plain", "resumed"]
    assert found["plain"]["changed"] is None
    assert found["long"]["changed"] > found["long"]["start"] > 0
    assert server.get("/pages", run="plain") == {"run": "plain", "cursor": 0.0, "pages": [], "unreadable": []}
    assert len(server.get("/pages", run="a/nested run")["pages"]) == 1


def test_only_what_is_new_is_sent_again(server):
    cursor = server.get("/pages", run="long")["cursor"]
    again = server.get("/pages", run="long", after=cursor)
    assert len(again["pages"]) <= 2
    assert server.get("/pages", run="long", after=cursor + 1)["pages"] == []


def test_a_resumed_run_has_two_sessions(server):
    pages = server.get("/pages", run="resumed")["pages"]
    first, second = sorted({page["session"] for page in pages})
    held: dict[int, set[int]] = {first: set(), second: set()}
    for page in pages:
        held[page["session"]].update(row[0] for row in page.get("rows", ()))
    assert held == {first: set(range(60)), second: set(range(40, 55))}


def test_an_unknown_run_has_no_pages(server):
    assert server.get("/pages", run="../long")["pages"] == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/pages", 400),
        ("/pages?run=long&after=soon", 400),
        ("/pages?run=long&after=nan", 400),
        ("/pages?run=long&run=plain", 400),
        ("/pages?run=long&file=/etc/passwd", 400),
        ("/runs?x=1", 400),
        ("/index.js?path=../plugin.py", 400),
        ("/plugin.py", 404),
        ("/static/index.js", 404),
        ("/..%2fplugin.py", 404),
        ("/../plugin.py", 404),
        ("/", 404),
    ],
)
def test_routes_answer_only_what_they_must(server, path, code):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server.url}data/plugin/lightning_lr{path}", timeout=30)
    assert caught.value.code == code
    caught.value.close()


def test_the_page_comes_under_the_policy_of_tensorboard(server):
    """What we rely on: scripts from the same origin, none in the page; styles may be set by scripts."""
    with urllib.request.urlopen(f"{server.url}data/plugin_entry.html?name=lightning_lr", timeout=30) as answer:
        policy = answer.headers["Content-Security-Policy"]
    (scripts,) = re.findall(r"script-src ([^;]*)", policy)
    assert "'self'" in scripts
    assert "'unsafe-inline'" not in scripts


# Without a server ---------------------------------------------------------------------------------


class NoProvider:
    """Fails where it is asked anything."""


def test_the_text_page_has_the_newest_list_alone(tmp_path):
    """TensorBoard's default server shows of each step the newest text; all lists stand at one step."""
    control = eager()
    options = {"max_epochs": 4, "logger": TensorBoardLogger(tmp_path, "", "")}
    trainer([control], tmp_path, **options).fit(Scripted({"val_loss": [1.0] * 9}), data(4), data())
    assert len(control.decisions) == 4
    with serving(tmp_path, "--load_fast", "true") as server:
        server.wait_for(".", 4)
        tag = "lr_controller%2Fdecisions%2Ftext_summary"
        with urllib.request.urlopen(f"{server.url}data/plugin/text/text?run=.&tag={tag}") as answer:
            (shown,) = json.load(answer)
    assert [f"check {check}" in shown["text"] for check in range(5)] == [True] * 4 + [False]


@pytest.fixture
def tab():
    return LearningRateTab(SimpleNamespace(data_provider=NoProvider()))


def test_entry_point_and_metadata(tab):
    (line,) = re.findall(r'^lightning_lr = "(lightning_lr\..*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    module, name = line.split(":")
    assert getattr(importlib.import_module(module), name) is LearningRateTab
    metadata = tab.frontend_metadata()
    assert metadata.tab_name == "Learning rate"
    assert metadata.es_module_path in tab.get_plugin_apps()
    assert tab.is_active() is False  # asks nobody: TensorBoard itself looks for summaries under our name


def test_only_get(tab):
    for route, answer in tab.get_plugin_apps().items():
        for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
            response = Client(answer).open(route, method=method)
            assert (response.status_code, response.headers["Allow"]) == (405, "GET"), (route, method)


def test_static_files_are_served_whole_and_never_kept(tab):
    for route, path in static_files().items():
        response = Client(tab.get_plugin_apps()[route]).get(route)
        assert response.data == path.read_bytes()
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "no-cache" in response.headers["Cache-Control"]


def test_no_script_writes_markup_or_asks_another_server():
    for path in static_files().values():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", text), path
        assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}, path


def test_plotly_comes_from_its_package(tab):
    pytest.importorskip("plotly")
    answer = tab.get_plugin_apps()["/plotly.min.js"]
    response = Client(answer).get("/plotly.min.js", headers={"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert len(response.data) < 2_000_000
    assert Client(answer).get("/plotly.min.js").data == plotly_file().read_bytes()


def test_without_plotly_the_package_is_named(tab, monkeypatch):
    monkeypatch.setattr(plugin_module, "plotly_file", lambda: None)
    response = Client(tab.get_plugin_apps()["/plotly.min.js"]).get("/plotly.min.js")
    assert response.status_code == 404
    assert "pip install plotly" in response.text


def test_a_page_of_a_later_version_is_named_and_the_others_are_read(tmp_path):
    from lightning_lr.loggers import tensorboard

    run = TabRun(tmp_path / "runs" / "later", every=0).go(3)
    for place, text in (("r1", '{"schema": 99}'), ("r2", '{"sch')):
        run.writer._get_file_writer().add_summary(tensorboard._summary(f"lr_controller/tab/checks/1/{place}", text), 3)
    run.close()
    with serving(tmp_path / "runs", "--load_fast", "false") as server:
        server.wait_for("later", 3)
        answer = server.get("/pages", run="later")
    assert len(answer["pages"]) == 1
    later, cut = answer["unreadable"]
    assert later.startswith("lr_controller/tab/checks/1/r1: written by a later lightning_lr (schema 99")
    assert cut == "lr_controller/tab/checks/1/r2: not JSON"


def test_the_event_file_grows_linearly(tmp_path):
    """What a check costs does not depend on how many there were."""

    def size(name: str, checks: int) -> int:
        run = TabRun(tmp_path / name, every=0)
        for _ in range(checks):
            run.tab.write(run.next_entry(), 0, [run.writer])
        run.close()
        return sum(path.stat().st_size for path in Path(tmp_path / name).iterdir())

    short, long = size("short", 500), size("long", 2000)
    assert long == pytest.approx(4 * short, rel=0.05)
    assert long / 2000 < 600
