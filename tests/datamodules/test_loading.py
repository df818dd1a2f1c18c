import copy
import pickle
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from sparsity.datamodules.loading import (
    EpochSampler,
    InMemoryImages,
    InOrderLoader,
    ResumableLoader,
    fit_on,
    unchanged,
)


def numbered(samples: int) -> InMemoryImages:
    numbers = torch.arange(samples)
    return InMemoryImages(numbers.to(torch.uint8)[:, None, None, None], numbers)


def loader(samples: int = 10, batch_size: int = 3, num_workers: int = 0, seed: int = 1) -> ResumableLoader:
    return ResumableLoader(
        numbered(samples),
        batch_size=batch_size,
        sampler=EpochSampler(samples, seed),
        num_workers=num_workers,
        collate_fn=unchanged,
        generator=torch.Generator(),
    )


def labels(batches: ResumableLoader) -> list[list[int]]:
    return [batch[1].tolist() for batch in batches]


def test_a_batch_is_a_pair_of_tensors_and_a_sample_one_of_it() -> None:
    data = numbered(5)
    images, numbers = data.__getitems__([4, 0, 4])
    assert images.shape == (3, 1, 1, 1)
    assert images.dtype == torch.uint8
    assert numbers.tolist() == [4, 0, 4]
    assert data[2][1] == 2
    assert len(data) == 5


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 40), replicas=st.integers(1, 5), epoch=st.integers(0, 100), seed=st.integers(0, 2**62))
def test_ranks_share_out_every_sample_and_repeat_fewer_than_there_are_ranks(
    size: int, replicas: int, epoch: int, seed: int
) -> None:
    ranks = [EpochSampler(size, seed, num_replicas=replicas, rank=rank) for rank in range(replicas)]
    for sampler in ranks:
        sampler.set_epoch(epoch)
    dealt = [list(sampler) for sampler in ranks]
    assert {len(part) for part in dealt} == {len(ranks[0])}
    counts = Counter(number for part in dealt for number in part)
    assert set(counts) == set(range(size))
    assert counts.total() - size < replicas


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    sampler = EpochSampler(50, seed=3)
    first = list(sampler)
    torch.manual_seed(99)
    torch.rand(5)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    # A seed plus an epoch, as torch's own sampler has it, would make these two equal.
    other = EpochSampler(50, seed=4)
    assert list(other) not in (first, second)
    sampler.set_epoch(0)
    assert list(sampler) == first


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 3, 4])
def test_a_loader_goes_on_where_the_saved_one_stopped(num_workers: int, stop: int) -> None:
    whole = loader()
    whole.sampler.set_epoch(2)
    expected = labels(whole)

    interrupted = loader(num_workers=num_workers)
    interrupted.sampler.set_epoch(2)
    batches = iter(interrupted)
    for _ in range(stop):
        next(batches)
    state = interrupted.state_dict()

    resumed = loader(num_workers=num_workers)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    batches = iter(resumed)
    resumed.sampler.set_epoch(2)  # Lightning tells the epoch after it has asked for the iterator.
    assert [batch[1].tolist() for batch in batches] == expected[stop:]
    assert len(resumed) == 4
    assert labels(resumed) == expected


def test_a_position_of_another_epoch_is_not_used() -> None:
    resumed = loader()
    resumed.load_state_dict({"epoch": 0, "batches_done": 4})
    resumed.sampler.set_epoch(1)
    fresh = loader()
    fresh.sampler.set_epoch(1)
    assert labels(resumed) == labels(fresh)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loading_leaves_the_global_random_state_alone(num_workers: int) -> None:
    state = torch.get_rng_state()
    labels(loader(num_workers=num_workers))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loader_can_be_copied_and_pickled() -> None:
    original = loader()
    next(iter(original))
    for twin in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert twin.state_dict() == original.state_dict()


def test_a_restarted_order_is_the_one_that_followed_the_place_it_went_back_to() -> None:
    plain, sampler = EpochSampler(10, seed=1), EpochSampler(10, seed=1)
    stream = []
    for epoch in range(4):
        plain.set_epoch(epoch)
        stream += list(plain)
    sampler.restart(5, samples=13)
    sampler.set_epoch(5)
    assert list(sampler) == stream[13:23]
    sampler.set_epoch(6)
    assert list(sampler) == stream[23:33]


def test_an_order_restarted_at_the_beginning_has_the_epochs_of_a_new_run() -> None:
    sampler = EpochSampler(10, seed=1)
    first = list(sampler)
    sampler.restart(3, samples=0)
    sampler.set_epoch(3)
    assert list(sampler) == first


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("samples", "size"), [(10, 3), (9, 3), (2, 5)])
def test_images_in_their_order_come_in_the_batches_of_a_data_loader(samples: int, size: int, workers: int) -> None:
    options = {"batch_size": size, "num_workers": workers, "collate_fn": unchanged, "generator": torch.Generator()}
    ours = list(InOrderLoader(numbered(samples), **options))
    theirs = list(DataLoader(numbered(samples), **options))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])


def test_a_loader_of_another_order_is_a_data_loader_as_ever() -> None:
    shuffled = InOrderLoader(numbered(10), batch_size=4, sampler=EpochSampler(10, seed=1), collate_fn=unchanged)
    assert [batch[1].tolist() for batch in shuffled] == labels(loader(batch_size=4))


ELSEWHERE = torch.device("meta")  # a device without memory, which every machine has


def test_images_are_sent_once_and_let_go() -> None:
    data = numbered(6)
    assert data.on(torch.device("cpu")) is data
    sent = data.on(ELSEWHERE)
    assert sent.images.device == sent.labels.device == ELSEWHERE
    assert data.on(ELSEWHERE) is sent
    data.leave_device()
    assert data.on(ELSEWHERE) is not sent


def test_batches_are_taken_where_the_images_are() -> None:
    batches = ResumableLoader(
        numbered(10).on(ELSEWHERE), batch_size=3, sampler=EpochSampler(10, 1), collate_fn=unchanged
    )
    assert [(x.shape[0], x.device, y.device) for x, y in batches] == [(n, ELSEWHERE, ELSEWHERE) for n in (3, 3, 3, 1)]
    in_order = InOrderLoader(numbered(10).on(ELSEWHERE), batch_size=4, collate_fn=unchanged)
    assert [(len(x), x.device) for x, _ in in_order] == [(n, ELSEWHERE) for n in (4, 4, 2)]


def test_images_lie_on_a_gpu_if_they_take_no_more_than_a_quarter_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = numbered(10)
    assert data.size == 10 + 80
    for free, fits in ((360, True), (359, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 1000))
        assert fit_on(torch.device("cuda", 0), data) == fits
    assert not fit_on(torch.device("cpu"), data)
