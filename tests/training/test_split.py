import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuroexapt.errors import DataError
from neuroexapt.training.split import cut_test, cut_three, cut_validation, stratified_cut


@given(
    st.lists(st.integers(min_value=2, max_value=60), min_size=1, max_size=6),
    st.floats(min_value=0.05, max_value=0.9),
)
def test_stratified_cut_takes_the_share_of_every_class(counts: list[int], share: float) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    if round(share * len(labels)) == 0:
        return
    stay, cut = stratified_cut(labels, share, torch.Generator())
    assert sorted(stay.tolist() + cut.tolist()) == list(range(len(labels)))
    assert abs(len(cut) - share * len(labels)) <= 0.5 + 1e-9 or 1 in labels[stay].bincount()
    for label, count in enumerate(counts):
        assert abs(int((labels[cut] == label).sum()) - share * count) <= 1 + 1e-9
        assert (labels[stay] == label).any()


def test_stratified_cut_shares_three_classes_by_running_totals() -> None:
    # Running totals 3, 6, 9 at a third: 1, 2, 3. At a half: 1.5, 3, 4.5 round to 2, 3, 4 (even).
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    _, cut = stratified_cut(labels, 1 / 3, torch.Generator())
    assert labels[cut].bincount().tolist() == [1, 1, 1]
    _, cut = stratified_cut(labels, 0.5, torch.Generator())
    assert labels[cut].bincount().tolist() == [2, 1, 1]


def test_stratified_cut_leaves_a_class_its_only_image() -> None:
    stay, cut = stratified_cut(torch.tensor([0, 1, 1, 1]), 0.5, torch.Generator())
    assert 0 in stay.tolist() and 0 not in cut.tolist()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_stratified_cut_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(DataError, match=f"between 0 and 1, not {share}"):
        stratified_cut(torch.tensor([0, 1]), share, torch.Generator())


def test_stratified_cut_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"0\.1 of 3 images in 3 classes is no image at all"):
        stratified_cut(torch.tensor([0, 1, 2]), 0.1, torch.Generator())


def test_cut_validation_depends_on_the_split_seed_alone() -> None:
    labels = torch.arange(200) % 4
    torch.manual_seed(1)
    first = cut_validation(labels, 0.1, 0)[1]
    torch.manual_seed(2)
    assert torch.equal(first, cut_validation(labels, 0.1, 0)[1])
    assert not torch.equal(first, cut_validation(labels, 0.1, 1)[1])


def test_cut_three_gives_shares_of_the_whole_and_a_fixed_test_part() -> None:
    labels = torch.arange(200) % 4
    train, held_out, test = cut_three(labels, 0.1, 0)
    assert (len(train), len(held_out), len(test)) == (140, 20, 40)
    assert sorted(train.tolist() + held_out.tolist() + test.tolist()) == list(range(200))
    assert torch.equal(test, cut_test(labels)[1])
    assert torch.equal(test, cut_three(labels, 0.3, 7)[2])
