"""Scripts under docs/tutorial become pages: text, code, what the code prints, and its figures.

A script has cells in the form that editors and Jupyter know: ``# %% [markdown]`` begins a cell of text, whose lines are
comments, and ``# %%`` one of code. Everything is run anew when the site is built; an exception fails the build.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)


def cells(script: str) -> list[tuple[bool, str]]:
    """(whether it is text, its source) of each cell, in order."""
    parts = CELL.split(script)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [("markdown" in kind, source.strip("\n")) for kind, source in pairs if source.strip()]


def page_of(script: Path) -> str:
    """The page of a script, as Markdown; its figures are written beside it."""
    lines = [f"<!-- made from {script.name} by docs/extensions/executed.py -->"]
    names: dict[str, Any] = {"__name__": "__main__"}
    figures = 0
    for number, (is_text, source) in enumerate(cells(script.read_text(encoding="utf-8"))):
        if is_text:
            lines.append(re.sub(r"^# ?", "", source, flags=re.MULTILINE))
            continue
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(source, f"{script.name}, cell {number}", "exec"), names)
        except Exception as error:
            raise ExtensionError(f"{script}: cell {number} failed.\n{traceback.format_exc()}") from error
        lines.append(f"```python\n{source}\n```")
        if shown := printed.getvalue().rstrip():
            lines.append(f"```text\n{shown}\n```")
        for figure in _figures():
            image = script.with_name(f"{script.stem}_{figures}.png")
            figure.savefig(image, dpi=110)
            lines.append(f"![Figure {figures + 1}]({image.name})")
            figures += 1
    return "\n\n".join(lines) + "\n"


def _figures() -> list[Any]:
    """The figures that are open, which are closed."""
    from matplotlib import pyplot

    figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
    pyplot.close("all")
    return figures


def execute(app: Sphinx) -> None:
    """Run each script and write its page."""
    os.environ["MPLBACKEND"] = "Agg"
    for script in sorted(Path(app.srcdir).glob("tutorial/*.py")):
        before = Path.cwd()
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.INFO)
            os.chdir(folder)
            try:
                text = page_of(script)
            finally:
                os.chdir(before)
                logging.disable(logging.NOTSET)
        script.with_suffix(".md").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", execute)
    return {"parallel_read_safe": True}
