"""Whatever sensing does, it does as much for every layer of a network that is deep."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from small import CRITERION
from torch import nn

import neuroexapt
from neuroexapt import Budget, GrowthConfig, LivingModel
from neuroexapt.growth.arbiter import candidates, rank_by_worth
from neuroexapt.growth.proposal import Ranking
from neuroexapt.growth.situation import Situation
from neuroexapt.signals import sense

PACKAGE = str(Path(neuroexapt.__file__).parent)
DEPTHS = (5, 10, 15)


def chain(depth: int, norm: bool, in_place: bool) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for index in range(depth):
        layers.append(nn.Conv2d(3 if index else 1, 3, 3, padding=1))
        layers += [nn.BatchNorm2d(3)] if norm else []
        layers.append(nn.ReLU(inplace=in_place))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))


def situation(living: LivingModel) -> Situation:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(16, 1, 4, 4, generator=generator)
    data = [(images, torch.randint(3, (16,), generator=generator))]
    readings = sense(living, data, CRITERION)
    config = GrowthConfig(policy="arbiter")
    return Situation(
        living, readings, data, CRITERION, config, Budget(), generator, {"other": 1.0}, None
    )


def traced(run: Callable[[], Ranking]) -> tuple[Ranking, int]:
    """A ranking, and how many of the package's lines it ran, each as often as it was passed."""
    count: Counter[str] = Counter()

    def local(_frame: FrameType, event: str, _arg: object) -> Any:
        count[event] += 1
        return local

    def begin(frame: FrameType, _event: str, _arg: object) -> Any:
        return local if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(begin)
    try:
        ranking = run()
    finally:
        sys.settrace(before)
    return ranking, count["line"]


@pytest.mark.parametrize(("norm", "in_place"), [(True, False), (False, True)])
def test_ranking_takes_as_many_steps_for_every_layer(norm: bool, in_place: bool) -> None:
    now = [
        situation(LivingModel(chain(d, norm, in_place), torch.zeros(2, 1, 4, 4))) for d in DEPTHS
    ]
    proposed = [len(candidates(of)) for of in now]
    assert proposed[2] - proposed[1] == proposed[1] - proposed[0] > 0
    rankings, lines = zip(*(traced(lambda of=of: rank_by_worth(of)) for of in now), strict=True)
    flops = [ranking.flops for ranking in rankings]
    assert flops[2] - flops[1] == pytest.approx(flops[1] - flops[0], rel=0.01)
    # Not quite as many: the few connections that are tried may lie deeper or not so deep.
    assert lines[2] - lines[1] == pytest.approx(lines[1] - lines[0], rel=0.04)
