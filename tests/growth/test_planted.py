"""Networks that are known to lack something: the gains show it, and the arbiter acts on it."""

import math

import pytest
import torch
from lacking import PROBLEMS, Run
from torch import Generator

from neuroexapt import Deepen, GrowthConfig
from neuroexapt.growth.arbiter import candidates
from neuroexapt.growth.evidence import CHANCE, Look, anything_to_gain
from neuroexapt.growth.situation import Situation
from neuroexapt.signals import Gain, Gains, growth_gain, sense
from neuroexapt.signals.gain import jackknife, pairwise_mean

SEEDS = {"shallow": 100}
"""Of the networks, where it isn't 0: in some, the layers that find nothing have died by then."""
LACKING = [name for name, problem in PROBLEMS.items() if not problem.lacks_nothing]
EVERY_KIND = GrowthConfig(kinds=("split", "widen", "deepen", "connect", "attend", "activate"))


def gains(run: Run) -> Gains:
    data, criterion = run.sample(), run.problem.criterion
    readings = sense(run.living, data, criterion)
    situation = Situation(
        run.living, readings, data, criterion, EVERY_KIND, None, Generator(), {}, None
    )
    edits = [proposal.edit for proposal in candidates(situation)]
    return growth_gain(run.living, edits, data, criterion, parts=2)


@pytest.mark.parametrize("name", LACKING)
def test_remedy_gains_most_beyond_what_the_last_layer_can_do(name: str) -> None:
    run = Run(PROBLEMS[name], seed=SEEDS.get(name, 0))
    run.train(run.problem.steps)
    found = gains(run)
    best = max(found.found, key=lambda gain: gain.beyond)
    assert run.problem.remedy(best.edit), best
    others = [gain.beyond for gain in found.found if not run.problem.remedy(gain.edit)]
    assert best.beyond > 2 * max(others)
    assert anything_to_gain([Look.of(found)])


def test_arbiter_adds_layers_where_only_they_help() -> None:
    grower = Run(PROBLEMS["shallow"], seed=SEEDS["shallow"]).grow("arbiter")
    assert [type(growth.edit) for growth in grower.growths] == [Deepen]


def test_large_network_at_the_noise_floor_gets_nothing_and_is_told_so() -> None:
    grower = Run(PROBLEMS["enough"], seed=0).grow("arbiter", times=2)
    assert grower.growths == []
    assert grower.stopped is not None
    assert "stands out from noise: the network is large enough" in grower.stopped
    assert grower.stopped.endswith("(2 times in a row)")


def test_what_only_the_pace_stands_against_is_not_called_worthless() -> None:
    run = Run(PROBLEMS["shallow"], seed=SEEDS["shallow"])
    grower = run.grow("arbiter", pace=1.01, kinds=("deepen",))
    assert grower.growths == []
    assert grower.stopped is not None
    assert "would make the model more than 1.01 times as expensive" in grower.stopped
    assert "first of all deepen after" in grower.stopped


def noise(count: int, generator: Generator, parts: int = 16, signal: float = 0.0) -> Gains:
    """Gains of edits whose gradients are noise of their own, and of one also a signal."""
    rows = torch.randn(count, parts, 20, generator=generator, dtype=torch.float64)
    rows[0] += signal
    grams = rows @ rows.transpose(1, 2)
    found = tuple(_gain(gram) for gram in grams)
    together = _estimate((grams / grams.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]).mean(0))
    return Gains(found, (), 1.0, together, together, parts, 1024, 0, 0.0)


def _estimate(gram: torch.Tensor) -> tuple[float, float]:
    return pairwise_mean(gram), jackknife(gram)


def _gain(gram: torch.Tensor) -> Gain:
    value, error = _estimate(gram)
    return Gain(Deepen(after="0"), value, error, 0.0, 0.0, value, error, 20, 20, 20)


def test_noise_stands_out_seldom_however_many_edits_there_are() -> None:
    generator, times = Generator().manual_seed(0), 60
    bound = times * CHANCE + 3 * math.sqrt(times * CHANCE * (1 - CHANCE))
    found = {count: [noise(count, generator) for _ in range(times)] for count in (5, 60)}
    for count, drawn in found.items():
        assert sum(anything_to_gain([Look.of(gains)]) is not False for gains in drawn) <= bound, (
            count
        )
    passing = [any(g.gain > 2 * g.error for g in gains.found) for gains in found[60]]
    assert sum(passing) > 0, "two standard errors alone let noise through"


def test_one_edit_among_many_that_gains_stands_out() -> None:
    assert anything_to_gain([Look.of(noise(60, Generator().manual_seed(0), signal=1.0))])
