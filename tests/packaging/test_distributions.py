"""What is uploaded: complete, the same bytes each time, and with a description that an index can show."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="the package is built with the extra `dev`")

ROOT = Path(__file__).parents[2]
LEFT_OUT = {".git", ".venv", "build", "dist", "__pycache__"}


def built(folder: Path) -> tuple[Path, Path]:
    """An sdist and a wheel, in this order."""
    made = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return built(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def metadata(files: tuple[Path, Path]) -> str:
    with zipfile.ZipFile(files[1]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        return wheel.read(name).decode()


def sources(folder: str) -> set[str]:
    """Every file of a folder that was not made by a tool, as its path from the root."""
    found = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not LEFT_OUT & set(path.parts) and path.suffix != ".pyc"}


def test_two_builds_are_the_same_bytes(files: tuple[Path, Path], tmp_path: Path) -> None:
    def sums(paths: tuple[Path, Path]) -> list[str]:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    assert sums(built(tmp_path)) == sums(files)


def test_the_wheel_holds_the_package_and_nothing_else(files: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(files[1]) as wheel:
        names = set(wheel.namelist())
    assert {name for name in names if ".dist-info/" not in name} == sources("lightning_lr")
    assert "lightning_lr/tensorboard_plugin/static/index.js" in names


def test_the_sdist_can_be_tested_and_documented_from_itself(files: tuple[Path, Path]) -> None:
    with tarfile.open(files[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = set().union(*(sources(folder) for folder in ("lightning_lr", "tests", "examples", "benchmarks", "docs")))
    wanted -= {name for name in wanted if re.match(r"docs/(api/|tutorial/.+\.(md|png)$)", name)}  # by the docs build
    assert wanted - names == set()
    root = {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "Makefile", "setup.cfg", "constraints.txt"}
    assert root - names == set()
    assert not [name for name in names if name.startswith(("build/", ".venv", "docs/api/")) or "__pycache__" in name]


def test_links_of_the_long_description_are_absolute(metadata: str) -> None:
    message = message_from_string(metadata)
    version, text = message["Version"], str(message.get_payload())
    assert "# lightning_lr" in text
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    repository = dict(url.split(", ") for url in message.get_all("Project-URL", []))["Repository"]
    assert f"{repository}/blob/v{version}/CHANGELOG.md" in links
    assert re.search(rf"!\[[^\]]*\]\({re.escape(repository)}/raw/v{version}/docs/images/", text)


def test_the_version_is_the_same_everywhere(metadata: str) -> None:
    version = str(message_from_string(metadata)["Version"])
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.skipif(importlib.util.find_spec("twine") is None, reason="the check of an upload needs twine")
def test_twine_finds_nothing_to_warn_of(files: tuple[Path, Path]) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("PASSED") == 2
