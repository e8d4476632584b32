import random

import numpy as np
import pytest
import torch

from neuroexapt.training.seed import generator_for, seeded


def draw(generator: torch.Generator) -> list[int]:
    return torch.randint(2**40, (4,), generator=generator).tolist()


def test_generator_for_same_stream_repeats() -> None:
    assert draw(generator_for(3, 1, 2)) == draw(generator_for(3, 1, 2))


def test_generator_for_other_seed_or_stream_differs() -> None:
    streams = [(3, 1, 2), (3, 2, 1), (3, 1), (3,), (4, 1, 2), (1, 3, 2)]
    assert len({tuple(draw(generator_for(*stream))) for stream in streams}) == len(streams)


def test_generator_for_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="seed -1 with stream"):
        generator_for(-1)


def test_seeded_repeats_every_global_generator() -> None:
    def draws() -> tuple[float, float, float, list[int]]:
        generator = seeded(5)
        return random.random(), np.random.rand(), float(torch.rand(())), draw(generator)  # noqa: NPY002

    assert draws() == draws()


def test_seeded_generator_is_not_moved_by_global_draws() -> None:
    untouched = draw(seeded(5))
    generator = seeded(5)
    torch.rand(100)
    assert draw(generator) == untouched


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeded_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"not {seed}"):
        seeded(seed)
