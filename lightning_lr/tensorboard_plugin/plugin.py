"""The plugin as TensorBoard sees it: a name, a tab, and a handful of routes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tensorboard import plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from lightning_lr.tensorboard_plugin.assets import TYPES, compressed, plotly_file, static_files
from lightning_lr.tensorboard_plugin.pages import PLUGIN
from lightning_lr.tensorboard_plugin.reader import CheckReader

DAY = 24 * 3600


class LearningRateTab(base_plugin.TBPlugin):  # type: ignore[misc]  # tensorboard ships no types
    """The tab "Learning rate".

    Args:
        context: TensorBoard's; its data provider is all that is used.
    """

    plugin_name = PLUGIN

    def __init__(self, context: Any) -> None:
        self.reader = CheckReader(context.data_provider)

    def get_plugin_apps(self) -> dict[str, Any]:
        """Route → what answers it."""
        routes: dict[str, Callable[[Any], Any]] = {
            route: partial(_file, path=path) for route, path in static_files().items()
        }
        routes |= {"/plotly.min.js": _plotly, "/runs": self._runs, "/pages": self._pages}
        return {route: wrappers.Request.application(partial(_only_get, answer)) for route, answer in routes.items()}

    def is_active(self) -> bool:
        """TensorBoard looks for itself whether there are summaries under our name; there is nothing to add."""
        return False

    def frontend_metadata(self) -> Any:
        """Where the page begins, and the tab's name."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Learning rate")

    def _runs(self, request: Any) -> Any:
        _known(request)
        runs = self.reader.runs(plugin_util.context(request.environ), plugin_util.experiment_id(request.environ))
        return http_util.Respond(request, {"runs": runs, "charts": plotly_file() is not None}, "application/json")

    def _pages(self, request: Any) -> Any:
        _known(request, "run", "after")
        run, after = request.args.get("run"), request.args.get("after", "0")
        if run is None:
            raise BadRequestError("Expected a parameter `run` with the name of a run.")
        context, experiment = plugin_util.context(request.environ), plugin_util.experiment_id(request.environ)
        return http_util.Respond(
            request, self.reader.pages(context, experiment, run, _seconds(after)), "application/json"
        )


class BadRequestError(ValueError):
    """A request that no page of ours makes; the message is the answer."""


def _only_get(answer: Callable[[Any], Any], request: Any) -> Any:
    if request.method != "GET":
        return http_util.Respond(request, "Only GET.", "text/plain", code=405, headers=[("Allow", "GET")])
    try:
        return answer(request)
    except BadRequestError as error:
        return http_util.Respond(request, str(error), "text/plain", code=400)


def _known(request: Any, *names: str) -> None:
    """Refuse parameters that this route does not have, and those that come twice."""
    for name, values in request.args.lists():
        if name not in names:
            raise BadRequestError("Expected no such parameter.")
        if len(values) > 1:
            raise BadRequestError(f"Expected the parameter `{name}` once.")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadRequestError("Expected a finite number as parameter `after`.")
    return value


def _file(request: Any, path: Path) -> Any:
    _known(request)
    return http_util.Respond(request, path.read_bytes(), TYPES[path.suffix])


def _plotly(request: Any) -> Any:
    _known(request)
    path = plotly_file()
    if path is None:
        return http_util.Respond(request, "pip install plotly", "text/plain", code=404)
    return http_util.Respond(request, compressed(path), TYPES[".js"], content_encoding="gzip", expires=DAY)
