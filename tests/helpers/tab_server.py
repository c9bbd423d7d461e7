"""A real TensorBoard with the tab, in a process of its own, whether or not the package is installed.

Run as a program it serves until it is ended, and prints its address first.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_PLOTLY = "TAB_SERVER_WITHOUT_PLOTLY"


class Server:
    """What a test asks of it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **query: Any) -> Any:
        """The answer to a request that must succeed, as JSON."""
        address = f"{self.url}data/plugin/lightning_lr{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return json.load(answer)

    def wait_for(self, run: str, checks: int, seconds: float = 40) -> None:
        """Until the server has read so many checks of a run."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pages = self.get("/pages", run=run)["pages"]
            if len({row[0] for page in pages if page["kind"] == "checks" for row in page["rows"]}) >= checks:
                return
            time.sleep(0.2)
        raise TimeoutError(f"{run} never had {checks} checks")


@contextlib.contextmanager
def serving(logdir: Path, *options: str, protocol: str = "", without_plotly: bool = False) -> Iterator[Server]:
    """A server over a folder of runs; it looks for new data every second.

    Args:
        logdir: the folder.
        options: of TensorBoard.
        protocol: read the folder through fsspec, as a remote one is.
        without_plotly: as if plotly were not installed.
    """
    where = f"{protocol}{logdir}"
    command = [sys.executable, __file__, "--logdir", where, "--port", "0", "--reload_interval", "1", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    if without_plotly:
        environment[WITHOUT_PLOTLY] = "1"
    with (
        (logdir.parent / f"{logdir.name}.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http"), Path(log.name).read_text()
            yield Server(url)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    from tensorboard import default, program

    from lightning_lr.tensorboard_plugin import plugin as plugin_module
    from lightning_lr.tensorboard_plugin.plugin import LearningRateTab

    if WITHOUT_PLOTLY in os.environ:
        plugin_module.plotly_file = lambda: None
    others = [plugin for plugin in default.get_plugins() if plugin is not LearningRateTab]
    server = program.TensorBoard(plugins=[*others, LearningRateTab])
    server.configure(argv=["", *sys.argv[1:]])
    print(server.launch(), flush=True)  # noqa: T201
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
