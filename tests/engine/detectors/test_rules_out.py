"""A cheaper look never contradicts the detector: what it rules out is no, and is found as no when it is read."""

from __future__ import annotations

from collections import Counter
from random import Random

from lightning_lr.engine.detectors import default_detectors
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.records import Reading, TrainWindow
from lightning_lr.engine.vocabulary import Mode, Verdict


def readings(seed: int) -> list[Reading]:
    """Any run: falls, stands, jumps, rises; with and without values before training, validations, and numbers."""
    rng = Random(seed)
    level, found = rng.choice([1.0, -3.0, 1e6]), []
    scale, noise = abs(level), 10 ** rng.uniform(-4, -0.5)
    for check in range(45):
        level += scale * rng.choice([-0.05, -0.02, -0.01, 0.0, 0.0, 0.01, 0.3 if rng.random() < 0.1 else 0.0])
        blocks = tuple(level + scale * noise * rng.gauss(0, 1) for _ in range(rng.choice([1, 4])))
        lost = rng.random() < 0.02
        metrics = {} if rng.random() < 0.1 else {"a": level + scale * noise * rng.gauss(0, 1), "b": rng.random()}
        untrained = {"a": 2 * level, "train_loss": 2 * level} if not check and rng.random() < 0.5 else {}
        mean = float("nan") if lost else sum(blocks) / len(blocks)
        window = TrainWindow(mean, () if lost else blocks, len(blocks), int(lost), lost)
        found.append(Reading(check, check, check, metrics, window, untrained=untrained))
    return found


def test_what_is_ruled_out_is_no():
    ruled_out: Counter[str] = Counter()
    for seed in range(60):
        history = RunHistory(("a", "b"), Mode.MIN)
        for reading in readings(seed):
            views = history.update(reading)
            if Random(reading.check).random() < 0.05:
                history.restart()
            for detector in default_detectors():
                if detector.rules_out(views):
                    findings = detector.examine(views)
                    assert findings, (seed, reading.check, detector)
                    assert {finding.verdict for finding in findings} == {Verdict.NO}, (seed, reading.check, findings)
                    ruled_out[str(detector.condition)] += 1
    assert min(ruled_out[name] for name in ("plateau", "overfitting", "divergence", "loss_spike")) > 50, ruled_out
