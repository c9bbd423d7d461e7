"""The grammatical helpers."""

from __future__ import annotations

import pytest

from lightning_lr.engine.text import lr_changes, markdown, plural


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 checks"), (1, "1 check"), (1.0, "1.0 check"), (2, "2 checks"), (0.5, "0.5 checks")]
)
def test_plural(count, said):
    assert f"{count} check{plural(count)}" == said


@pytest.mark.parametrize(
    ("why", "old", "new", "said"),
    [
        ("no rates are known", [], [], ""),
        ("one group", [0.1], [0.05], "a 0.1 → 0.05"),
        ("three groups", [0.1, 0.2, 0.3], [0.05, 0.1, 0.15], "a 0.1 → 0.05, b 0.2 → 0.1, c 0.3 → 0.15"),
        ("the rest is counted", [1, 1, 1, 1, 1], [2, 2, 2, 2, 2], "a 1 → 2, b 1 → 2, c 1 → 2, and 2 more"),
        ("four figures are enough", [1 / 3], [1e-7 / 3], "a 0.3333 → 3.333e-08"),
    ],
)
def test_lr_changes(why, old, new, said):
    assert lr_changes(dict(zip("abcde", old, strict=False)), dict(zip("abcde", new, strict=False))) == said, why


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a_b *c* [d]", "a\\_b \\*c\\* \\[d\\]"),
        ("two\nlines", "two lines"),
        ("<b> & </b>", "&lt;b&gt; &amp; &lt;/b&gt;"),
    ],
)
def test_markdown(text, shown):
    assert markdown(text) == shown
