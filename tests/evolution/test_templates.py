"""Copies of networks that were built before are the networks that replaying would build."""

import pickle

import pytest
import torch
from grown_nets import grown, net

from neuroexapt.edits import Deepen, Widen
from neuroexapt.evolution import Genome, templates
from neuroexapt.evolution.templates import Templates

EDITS = (Widen(group="0", count=2), Deepen(after="4"))
X = torch.ones(2, 3, 8, 8)


def test_copies_are_what_replaying_builds() -> None:
    of = Templates(net())
    for _ in range(2):
        genome = Genome.of(grown(*EDITS))  # other weights each time
        replayed = genome.develop(net()).eval()
        assert torch.equal(of.develop(genome).eval()(X), replayed(X))
        assert of.develop(genome).edits == replayed.edits


def test_copies_share_nothing() -> None:
    of, genome = Templates(net()), Genome.of(grown(*EDITS))
    first, second = of.develop(genome), of.develop(genome)
    places = [t.data_ptr() for m in (first, second) for t in m.state_dict().values()]
    assert len(places) == len(set(places))
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1.0)
    first.apply(Widen(group="0", count=1))
    assert torch.equal(of.develop(genome).eval()(X), second.eval()(X))


def test_flops_are_counted_once_a_lineage() -> None:
    of, counted = Templates(net()), []

    def count() -> int:
        counted.append(1)
        return 7

    genomes = [Genome.of(grown(*EDITS)) for _ in range(2)]
    assert [of.flops(genome, count) for genome in genomes] == [7, 7]
    assert len(counted) == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MOST_BYTES", 1)
    of = Templates(net())
    for edits in (EDITS[:1], EDITS):
        of.develop(Genome.of(grown(*edits)))
        assert len(of._known) == 1
    assert next(iter(of._known)) == EDITS


def test_nothing_built_is_sent_to_workers() -> None:
    of, genome = Templates(net()), Genome.of(grown(*EDITS))
    built = of.develop(genome).eval()
    sent = pickle.loads(pickle.dumps(of))
    assert not sent._known
    assert torch.equal(sent.develop(genome).eval()(X), built(X))
