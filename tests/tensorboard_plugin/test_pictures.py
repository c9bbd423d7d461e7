"""The pictures of the docs, taken from two real runs: `make pictures`. Look at them before they are committed.

Without a folder in ``LIGHTNING_LR_PICTURES`` nothing is trained and nothing is taken.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FOLDER = os.environ.get("LIGHTNING_LR_PICTURES")
# ruff: noqa: E402  # what may be missing is looked for before it is imported
if not FOLDER:
    pytest.skip("LIGHTNING_LR_PICTURES names no folder for the pictures", allow_module_level=True)
PICTURES = Path(FOLDER).absolute()

from selenium.webdriver.common.action_chains import ActionChains

from tests.helpers.tab_server import ROOT, serving
from tests.tensorboard_plugin.test_browser import Page, start_browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WIDE, NARROW = (1400, 1000), (800, 1000)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The quickstart, from a rate that is ten times too high and from one that is ten times too low.

    Its folder is named as a user would name it: paths stand in the pictures.
    """
    home = tmp_path_factory.mktemp("pictures")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.chdir(home)
    folder = Path("demo_runs")
    for rate in ("1.0", "0.01"):
        command = [
            sys.executable,
            "examples/quickstart.py",
            "--lr",
            rate,
            "--epochs",
            "60",
            "--folder",
            str(home / folder),
        ]
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    yield folder
    monkeypatch.undo()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = start_browser(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def server(runs):
    with serving(runs) as server:
        for run in ("version_0", "version_1"):
            server.wait_for(run, 40)
        yield server


def save(driver: Any, name: str) -> None:
    time.sleep(1)  # the last animation
    path = PICTURES / f"{name}.png"
    PICTURES.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    assert driver.save_screenshot(str(path))


def opened(browser: Any, server: Any, *chosen: str, size: tuple[int, int] = WIDE) -> Page:
    browser.set_window_size(*size)
    page = Page(browser, server.url).open().choose(*chosen)
    for run in chosen:
        page.until(lambda run=run: page.all(f"{page.card(run)} .plot[data-checks]"), f"the chart of {run}")
        page.settled(run)
    return page


def test_the_tab(browser, server):
    page = opened(browser, server, "version_0")
    page.all(".table tbody tr")[1].click()  # a change that was followed by three checks
    save(browser, "tab-light")


def test_the_hover_box(browser, server):
    page = opened(browser, server, "version_0")
    decided = page.js("return [...document.querySelectorAll('.table tbody tr td:first-child')].length")
    check = page.js(
        "const f = document.querySelector('.plot').data.filter(t => t.mode === 'markers' && t.yaxis === 'y2');"
        " return Math.max(...f.flatMap(t => t.x))"
    )
    assert decided
    plot = page.settled("version_0")
    x, y = page.js(
        "const f = arguments[0]._fullLayout; return [f.xaxis._offset + f.xaxis.d2p(arguments[1]), f._size.t + 90]",
        plot,
        check,
    )
    width, height = page.js("return [arguments[0].clientWidth, arguments[0].clientHeight]", plot)
    ActionChains(browser).move_to_element_with_offset(plot, x - width / 2, y - height / 2).perform()
    page.until(lambda: page.text(".hover:not([hidden])"), "the hover box")
    save(browser, "tab-hover")


def test_two_runs_in_the_dark(browser, server):
    page = opened(browser, server, "version_0", "version_1")
    page.js("parent.document.body.classList.add('dark-mode')")
    page.until(lambda: page.js("return document.documentElement.dataset.theme") == "dark", "the dark theme")
    save(browser, "tab-dark")
    page.js("parent.document.body.classList.remove('dark-mode')")


def test_a_narrow_page(browser, server):
    opened(browser, server, "version_0", size=NARROW)
    save(browser, "tab-800")


def test_the_text_page(browser, server):
    browser.set_window_size(*WIDE)
    browser.get("about:blank")
    browser.get(f"{server.url}#text&runSelectionState=eyJ2ZXJzaW9uXzEiOmZhbHNlfQ%3D%3D")  # {"version_1":false}
    page = Page(browser, server.url)
    page.until(lambda: "epoch" in page.js("return document.body.innerText") or time.sleep(6) is None, "the texts")
    save(browser, "tensorboard-text")


def test_the_scalars(browser, server):
    browser.set_window_size(*WIDE)
    browser.get("about:blank")
    browser.get(f"{server.url}?smoothing=0&tagFilter=lr_controller%2F(lr|val_loss)#timeseries")
    time.sleep(8)
    save(browser, "tensorboard-scalars")


def test_the_report_as_a_page(browser, runs, tmp_path):
    from lightning_lr.offline.cli import main

    assert main(["report", str(runs / "version_0"), "--html", str(tmp_path / "report.html")]) == 0
    browser.set_window_size(*WIDE)
    browser.get((tmp_path / "report.html").as_uri())
    save(browser, "report")
