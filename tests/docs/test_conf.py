"""The site's own lists name what there is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sphinx", reason="the site is built with the dev extra")

CONF = Path(__file__).parents[2] / "docs" / "conf.py"


@pytest.fixture(scope="module")
def conf() -> Any:
    spec = importlib.util.spec_from_file_location("docs_conf", CONF)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_each_module_in_the_order_of_the_reference_exists(conf: Any) -> None:
    there = conf.module_names()
    assert [name for name in conf.FIRST if not any(one == name or one.startswith(name + ".") for one in there)] == []


def test_each_pattern_of_the_menu_finds_a_page(conf: Any) -> None:
    generated = "api/index.rst"
    patterns = [p for patterns in [*conf.MENU.values(), *conf.LISTS.values()] for p in patterns if p != generated]
    assert [pattern for pattern in patterns if not any(conf.DOCS.glob(pattern))] == []
