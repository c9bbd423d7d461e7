"""The parts of ``make test-cuda`` on the CPU, as far as they have a meaning there: no part may rot unseen."""

from __future__ import annotations

import pytest

from tests.cuda.parts import PARTS, NotRunError


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PARTS)
def test_it_holds_on_the_cpu(name: str) -> None:
    try:
        PARTS[name]("cpu")
    except NotRunError as why:
        pytest.skip(str(why))
