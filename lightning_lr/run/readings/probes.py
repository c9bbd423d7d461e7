"""The probes of one fit: they look on while Lightning trains and validates, and their sums travel with the readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from lightning_lr.metrics.probe import Probe
from lightning_lr.run.distributed import Ranks


@dataclass
class Probes:
    """All probes of a run, as one.

    Attributes:
        probes: in the order in which the user named them.
        module: the network.
        precision: makes the context in which the network is run by a probe itself.
        watching: the looks at the validation batch that are under way.
    """

    probes: Sequence[Probe] = ()
    module: nn.Module | None = None
    precision: Any = nullcontext
    watching: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def attached(cls, probes: Sequence[Probe], module: nn.Module, optimizer: Any, precision: Any) -> Probes:
        """Make the probes know the network.

        Args:
            probes: new ones, or those of a former fit.
            module: the LightningModule.
            optimizer: the first that is controlled; ``None`` where there is none.
            precision: a function that makes the context of a validation step.
        """
        owned = {id(p) for group in (optimizer.param_groups if optimizer else ()) for p in group["params"]}
        named = [(name, p) for name, p in module.named_parameters() if id(p) in owned]
        for probe in probes:
            probe.attach(module, named)
            probe.restart()
            probe.forget()
        return cls(tuple(probes), module, precision)

    def before_step(self) -> None:
        """Gradients are there, weights are still the old ones."""
        for probe in self.probes:
            probe.before_step()

    def after_step(self) -> None:
        """The weights are the new ones."""
        for probe in self.probes:
            probe.after_step()

    def begin_batch(self, batch: Any) -> None:
        """The first validation batch is about to run."""
        self.end_batch()
        with self.precision():
            looks: list[AbstractContextManager[None]] = [
                look for probe in self.probes if (look := probe.observe(batch)) is not None
            ]
        for look in looks:
            self.watching.enter_context(look)

    def end_batch(self) -> None:
        """It has run, or something was raised in it."""
        self.watching.close()

    def look(self) -> None:
        """Let those look that run the network themselves."""
        if self.module is not None and self.probes:
            with self.precision():
                for probe in self.probes:
                    probe.look(self.module)

    def totals(self) -> list[float]:
        """The sums of this rank, of all probes; as many numbers on each rank."""
        return [number for probe in self.probes for number in probe.totals()]

    def load_totals(self, totals: Sequence[float]) -> None:
        """Go on from this rank's own :meth:`totals`."""
        if len(totals) == len(self.totals()):  # else there were other probes
            for probe, part in self._parts(totals):
                probe.load_totals(part)

    def readings(self, totals: Sequence[float]) -> dict[str, float]:
        """Quantity → value, from :meth:`totals` summed over ranks."""
        return {name: value for probe, part in self._parts(totals) for name, value in probe.readings(part).items()}

    def restart(self) -> None:
        """The sums were read."""
        for probe in self.probes:
            probe.restart()

    def forget(self) -> None:
        """The weights were exchanged: nothing from before compares."""
        for probe in self.probes:
            probe.restart()
            probe.forget()

    def memory(self) -> list[dict[str, Tensor]]:
        """What each probe compares with, for a checkpoint."""
        return [probe.memory() for probe in self.probes]

    def load_memory(self, memory: Sequence[Sequence[Mapping[str, Tensor]]], ranks: Ranks) -> None:
        """Go on from :func:`memory_of_ranks`; other probes than those of then, or other ranks, begin anew."""
        own = memory[ranks.rank] if len(memory) == (1 if ranks.alone else ranks.world_size) else ()
        if len(own) == len(self.probes):
            for probe, part in zip(self.probes, own, strict=True):
                if part:
                    probe.load_memory(part)

    def end(self) -> None:
        """Let go of the network."""
        self.end_batch()
        for probe in self.probes:
            probe.detach()
        self.module = None

    def _parts(self, totals: Sequence[float]) -> list[tuple[Probe, Sequence[float]]]:
        parts, at = [], 0
        for probe in self.probes:
            size = len(probe.totals())
            parts.append((probe, totals[at : at + size]))
            at += size
        return parts


def memory_of_ranks(probes: Probes, ranks: Ranks) -> list[list[dict[str, Tensor]]]:
    """The memory of each rank, by rank: each has seen another part of the validation data.

    Two collectives where there are probes and several ranks, at checkpoints alone.
    """
    return ranks.gather_plain(probes.memory()) if probes.probes else []
