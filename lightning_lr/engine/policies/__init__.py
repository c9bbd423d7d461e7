"""What is done about each condition, and when: one policy a file, and the words that stand for them.

To add a policy: a class in a file of its own, derived from `Policy` or `EpochPolicy`, and a line of `PRESETS`.
Imported by the engine, `run` and the command line.
"""

from __future__ import annotations

from collections.abc import Mapping

from lightning_lr.engine.policies.auto import AutoPolicy
from lightning_lr.engine.policies.conservative import ConservativePolicy
from lightning_lr.engine.policies.epochs import EpochPolicy
from lightning_lr.engine.policies.exponential import ExponentialPolicy
from lightning_lr.engine.policies.halving import HalvingPolicy
from lightning_lr.engine.policies.policy import Policy, Response

__all__ = [
    "AutoPolicy",
    "ConservativePolicy",
    "EpochPolicy",
    "ExponentialPolicy",
    "HalvingPolicy",
    "Policy",
    "Response",
]

PRESETS: Mapping[str, Policy] = {
    "auto": AutoPolicy(),
    "conservative": ConservativePolicy(),
    "halving": HalvingPolicy(),
    "exponential": ExponentialPolicy(),
}
"""Shorthands: ``policy="auto"`` is ``policy=AutoPolicy()``."""
