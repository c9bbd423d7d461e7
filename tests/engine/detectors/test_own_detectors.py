"""What a user's own detector must be, and what is said if it is not."""

from __future__ import annotations

import pytest

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import header_line, read_header
from lightning_lr.engine.policies.policy import Policy, Response
from lightning_lr.engine.records import Finding, Reading
from lightning_lr.engine.settings import Settings, settings_from
from lightning_lr.engine.vocabulary import Condition, Verdict
from lightning_lr.errors import ArgumentError


class Own(Detector):
    condition = "own_word"
    color = "#123456"

    def examine(self, views):
        return (self.finding(Verdict.YES, "val_loss", 2.0, 1.0),)

    def describe(self, finding):
        return f"{finding.monitor} scores {finding.score:g}"


class Unnamed(Own):
    condition = None


class Capital(Own):
    condition = "Own Word"


class Healthy(Own):
    condition = "healthy"


class Red(Own):
    color = "red"


class Heart(Own):
    mark = "heart"


class LatePlateau(Own):
    condition = "plateau"


class Silent(Own):
    def examine(self, views):
        return None


class Foreign(Own):
    def examine(self, views):
        return (Finding(Condition.PLATEAU, Verdict.YES, "val_loss", 2.0, 1.0, "flat"),)


@pytest.mark.parametrize(
    ("detectors", "said"),
    [
        (Own(), "a list of detectors but got <"),
        ([Own], r"Write Own\(\)\."),
        (["plateau"], "but got 'plateau' in it. Derive it from lightning_lr.Detector."),
        ([Unnamed()], "Expected the `condition` of Unnamed to be a word of small letters, .* but got None"),
        ([Capital()], "but got 'Own Word'"),
        ([Healthy()], "but got 'healthy'"),
        ([Red()], "a `color` like '#0072b2' .* but got 'red'"),
        ([Heart()], "a `mark` of circle, cross, .* but got '#123456' and 'heart'"),
        ([LatePlateau()], "detectors of plateau to agree on `precedence` but PlateauDetector has 70 and .* has 65"),
    ],
)
def test_what_is_no_detector_is_refused(detectors, said):
    with pytest.raises(ArgumentError, match=said):
        settings_from(detectors=detectors)


def test_a_response_to_a_condition_that_nothing_finds_is_refused():
    policy = Policy("mine", {"own_word": Response("reduce", 0.5)})
    with pytest.raises(ArgumentError, match="a response to 'own_word'. Pass a detector of it in `detectors`"):
        settings_from(policy=policy)
    assert settings_from(policy=policy, detectors=[Own()]).detectors


@pytest.mark.parametrize("detector", [Silent(), Foreign()])
def test_what_is_no_finding_of_it_is_refused(detector):
    engine = DecisionEngine(Settings(detectors=(detector,)))
    with pytest.raises(ArgumentError, match="examine to return a tuple of findings of 'own_word' but got"):
        engine.check(Reading(0, 0, 0, {"val_loss": 1.0}))


def test_a_journal_knows_how_it_ranks_and_looks_but_not_what_it_computes():
    (detector,) = read_header(header_line(Settings(detectors=(Own(),)), {}))[0].detectors
    assert (detector.name, detector.condition, detector.color) == ("Own", "own_word", "#123456")
    assert detector.condition is Own.condition
    engine = DecisionEngine(Settings(detectors=(detector,)))
    assert engine.check(Reading(0, 0, 0, {"val_loss": 1.0})).condition is Condition.HEALTHY
    # Written again by a run that is resumed from it, the name stays.
    assert read_header(header_line(Settings(detectors=(detector,)), {}))[0].detectors == (detector,)
