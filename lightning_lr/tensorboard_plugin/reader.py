"""The data of the tab: which runs there are, and the pages of one of them that are new.

Everything comes through TensorBoard's data provider, so that it makes no difference where the event files lie and who
reads them. The newest value of each tag is all that is asked for; see :mod:`~lightning_lr.tensorboard_plugin.pages`.
"""

from __future__ import annotations

from typing import Any

from tensorboard.data.provider import DataProvider, RunTagFilter

from lightning_lr.tensorboard_plugin.pages import PLUGIN, PageError, PageName, read_page


class CheckReader:
    """Reads our summaries.

    Args:
        provider: ``context.data_provider`` of the plugin.
    """

    def __init__(self, provider: DataProvider) -> None:
        self.provider = provider

    def runs(self, context: Any, experiment: str) -> list[dict[str, Any]]:
        """All runs: name, start, and when our data last changed, which is ``None`` where there is none."""
        ours = self._tags(context, experiment)
        found = self.provider.list_runs(context, experiment_id=experiment)
        names = {run.run_name: run.start_time for run in found} | {name: None for name in ours if not _in(name, found)}
        return [
            {"run": name, "start": start, "changed": max(ours[name].values()) if ours.get(name) else None}
            for name, start in sorted(names.items())
        ]

    def pages(self, context: Any, experiment: str, run: str, after: float) -> dict[str, Any]:
        """The pages of a run that changed since the last request.

        Args:
            context: of the request.
            experiment: ditto.
            run: its name; an unknown one has no pages.
            after: the ``cursor`` of the former answer; 0 for all pages.
        """
        times = self._tags(context, experiment, run).get(run, {})
        # Equal times too: two pages may be written within the clock's resolution, and a page read twice does no harm.
        changed = [tag for tag, time in times.items() if time >= after]
        read = self.provider.read_tensors(
            context,
            experiment_id=experiment,
            plugin_name=PLUGIN,
            run_tag_filter=RunTagFilter(runs=[run], tags=changed),
            downsample=1,
        )
        pages, unreadable = [], []
        for tag, data in sorted(read.get(run, {}).items()):
            name = PageName.parse(tag)
            if name is None or not data:
                continue
            try:
                pages.append({**vars(name), "written": data[-1].wall_time, **read_page(_text(data[-1].numpy))})
            except PageError as error:
                unreadable.append(f"{tag}: {error}")
        return {"run": run, "cursor": max(times.values(), default=0.0), "pages": pages, "unreadable": unreadable}

    def _tags(self, context: Any, experiment: str, run: str | None = None) -> dict[str, dict[str, float]]:
        """Run → tag → when it last changed."""
        found = self.provider.list_tensors(
            context,
            experiment_id=experiment,
            plugin_name=PLUGIN,
            run_tag_filter=None if run is None else RunTagFilter(runs=[run]),
        )
        return {
            name: {tag: series.max_wall_time for tag, series in tags.items() if PageName.parse(tag)}
            for name, tags in found.items()
        }


def _in(name: str, runs: Any) -> bool:
    return any(run.run_name == name for run in runs)


def _text(value: Any) -> str:
    """The one text of a tensor; numpy holds it as bytes, or as an object."""
    if getattr(value, "size", 0) != 1:
        raise PageError("no text")
    item = value.item()
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
