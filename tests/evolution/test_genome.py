"""A genome builds the network that it was taken from, and shares nothing with it."""

import torch
from grown_nets import grown, net

from neuroexapt.edits import Deepen, Prune, Widen
from neuroexapt.evolution import Genome

EDITS = (Widen(group="0", count=2), Deepen(after="4"), Widen(group="edit1.first", count=2))


def test_develop_gives_the_same_function() -> None:
    living = grown(*EDITS, Prune(group="3", units=(0, 2), preserving=False)).eval()
    x = torch.randn(3, 3, 8, 8)
    built = Genome.of(living).develop(net()).eval()
    assert torch.equal(built(x), living(x))
    assert built.edits == living.edits


def test_develop_leaves_seed_and_genome_alone() -> None:
    seed = net()
    before = {name: value.clone() for name, value in seed.state_dict().items()}
    genome = Genome.of(grown(*EDITS))
    kept = {name: value.clone() for name, value in genome.weights.items()}
    built = genome.develop(seed)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in seed.state_dict().items())
    assert all(torch.equal(value, kept[name]) for name, value in genome.weights.items())
    assert not seed.edits


def test_of_takes_a_copy() -> None:
    living = grown(*EDITS)
    genome = Genome.of(living)
    taken = {tensor.data_ptr() for tensor in living.state_dict().values()}
    assert not taken & {tensor.data_ptr() for tensor in genome.weights.values()}


def test_develop_goes_on_from_a_seed_that_was_grown_already() -> None:
    seed = grown(EDITS[0])
    child = grown(*EDITS).eval()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(Genome.of(child).develop(seed).eval()(x), child(x))
