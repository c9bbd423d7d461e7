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
from lightning_lr.run.console import unanswered_lines
from tests.helpers.readings import Run


class Own(Detector):
    condition = "own_word"
    color = "#123456"

    def examine(self, views):
        return (self.finding(Verdict.YES, "val_loss", 2.0, 1.0),)

    def describe(self, finding):
        return f"{finding.monitor} scores {finding.score:g}"


class Urgent(Own):
    urgent = True
    precedence = 1  # before all others


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


STALLS = [1.0, 0.8, 0.7, *[0.65] * 30]


@pytest.mark.parametrize("policy", ["auto", "conservative", "halving", "exponential"])
@pytest.mark.parametrize("own", [Own(), Urgent()], ids=lambda one: type(one).__name__)
def test_a_condition_without_a_response_changes_nothing_of_what_is_decided(policy, own):
    without, with_own = (Run(DecisionEngine(settings_from(policy=policy, detectors=d))) for d in ([], [own]))
    without.feed(STALLS)
    with_own.feed(STALLS)
    assert "r" in without.actions or "b" in without.actions
    for one, other in zip(without.decisions, with_own.decisions, strict=True):
        if one.condition is not Condition.HEALTHY or one.action != "hold":
            assert str(other) == str(one)
        else:
            assert other.action == "hold"


def test_a_condition_without_a_response_is_recorded_and_says_so():
    engine = DecisionEngine(settings_from(policy="conservative", detectors=[Urgent()]))
    decision = engine.check(Reading(0, 0, 0, {"val_loss": 1.0}))
    assert (decision.condition, decision.blocked_by) == ("own_word", "no_response")
    assert decision.reason == "own_word: val_loss scores 2; no response in policy 'conservative'"
    assert not engine.diagnosis.urgent


def test_at_the_start_it_is_said_that_there_is_no_response():
    said = ["Own finds own_word, but policy 'conservative' has no response to it: it is recorded only"]
    assert unanswered_lines(settings_from(policy="conservative", detectors=[Own()])) == said
    answers = Policy("mine", {"own_word": Response("reduce", 0.5)})
    assert unanswered_lines(settings_from(policy=answers, detectors=[Own()])) == []


def test_with_a_response_it_wins_by_its_precedence():
    answers = Policy("mine", {"own_word": Response("reduce", 0.5), "plateau": Response("reduce", 0.1)})
    run = Run(DecisionEngine(settings_from(policy=answers, detectors=[Urgent()])))
    assert {str(decision.condition) for decision in run.feed(STALLS)} == {"own_word"}


def test_a_built_in_condition_without_a_response_ranks_as_ever():
    class OwnSpike(Own):
        condition, precedence = "loss_spike", 60

    run = Run(DecisionEngine(settings_from(policy="conservative", detectors=[OwnSpike()])))
    assert {str(decision.condition) for decision in run.feed(STALLS)} == {"loss_spike"}
    assert {decision.blocked_by for decision in run.decisions} == {"no_response"}
