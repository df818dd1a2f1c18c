"""Images in memory, the order in which an epoch sees them, and a DataLoader that can go on in mid-epoch."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, SequentialSampler
from typing_extensions import override

from sparsity.seeding import named_generator

Batch = tuple[Tensor, Tensor]
"""Images `[batch, channels, height, width]` and labels `[batch]`, int64."""

T = TypeVar("T")


class InMemoryImages(Dataset[Batch]):
    """Images and their labels as two tensors; a DataLoader fetches a whole batch with one `index_select` each.

    Args:
        images: `[samples, channels, height, width]`, uint8.
        labels: `[samples]`, int64.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

        self._copy: InMemoryImages | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int] | Tensor) -> Batch:
        chosen = torch.as_tensor(indices, device=self.images.device)
        return self.images.index_select(0, chosen), self.labels.index_select(0, chosen)

    @property
    def size(self) -> int:
        """Bytes of all images and labels."""
        return self.images.nbytes + self.labels.nbytes

    def on(self, device: torch.device) -> "InMemoryImages":
        """The same images on a device; they are sent once, however many loaders are made of them."""
        if self.images.device == device:
            return self
        if self._copy is None or self._copy.images.device != device:
            self._copy = InMemoryImages(self.images.to(device), self.labels.to(device))
        return self._copy

    def leave_device(self) -> None:
        """Free what `on` has sent."""
        self._copy = None


class EpochSampler(DistributedSampler[Batch]):
    """A permutation that depends on the seed and the epoch alone, dealt out to the ranks one by one.

    In each epoch every sample comes exactly once; if the ranks do not divide their number, the epoch's first ones
    come again (fewer than there are ranks) so that all ranks have equally many. As a `DistributedSampler` it is
    left alone by Lightning, which would permute once more by a seed of its own that is not part of a checkpoint.

    Args:
        size: Number of samples.
        seed: Base seed of the run.
        num_replicas: Number of ranks.
        rank: This process, in [0, num_replicas).
        current_epoch: Says which epoch it is whenever `set_epoch` is called; by default that is believed.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        num_replicas: int = 1,
        rank: int = 0,
        current_epoch: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(range(size), num_replicas=num_replicas, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.size = size
        self.current_epoch = current_epoch
        self._restarted = (0, 0)

    def restart(self, epoch: int, samples: int) -> None:
        """Let an epoch begin where a run is after so many samples, and the following ones go on from there.

        An epoch then has as many samples as ever: the rest of one permutation and the beginning of the next.

        Args:
            epoch: The first one that this concerns.
            samples: Of all ranks together, counted from the beginning of the run.
        """
        self._restarted = (epoch, samples)

    @override
    def set_epoch(self, epoch: int) -> None:
        """Choose the order.

        Args:
            epoch: Counted from 0; not used if `current_epoch` was given.
        """
        super().set_epoch(epoch if self.current_epoch is None else self.current_epoch())

    @override
    def __iter__(self) -> Iterator[Any]:
        return iter(self.order().tolist())

    def order(self) -> Tensor:
        """Indices of this rank's samples in this epoch, int64."""
        restarted_in, samples = self._restarted
        epoch, done = divmod((self.epoch - restarted_in) * self.size + samples, self.size)
        order = self._permutation(epoch)
        if done:
            order = torch.cat([order[done:], self._permutation(epoch + 1)[:done]])
        positions = torch.arange(self.rank, self.total_size, self.num_replicas)
        return order[positions % self.size]

    def _permutation(self, epoch: int) -> Tensor:
        return torch.randperm(self.size, generator=named_generator("training order", epoch, seed=self.seed))


class ShareSampler(DistributedSampler[Batch]):
    """A rank's share of the samples in their order, none of which comes twice: some ranks may have one less.

    Only where ranks need not take steps together, as in a test: Lightning's own sampler fills up what is missing.

    Args:
        size: Number of samples.
        num_replicas: Number of ranks.
        rank: This process, in [0, num_replicas).
    """

    def __init__(self, size: int, num_replicas: int, rank: int) -> None:
        super().__init__(range(size), num_replicas, rank, shuffle=False)  # type: ignore[arg-type]
        self.size = size

    @override
    def __iter__(self) -> Iterator[int]:  # type: ignore[override]
        return iter(range(self.rank, self.size, self.num_replicas))

    @override
    def __len__(self) -> int:
        return len(range(self.rank, self.size, self.num_replicas))


class ResumableLoader(DataLoader[Batch]):
    """A DataLoader whose state is the epoch and the number of batches it has given in it.

    After `load_state_dict` the next iterator starts behind those batches, if it is asked for the same epoch; every
    other one starts at the beginning. The epoch is the sampler's.

    Images in memory that no worker fetches are taken straight from their tensors, wherever these are, by slices of the
    sampler's order: what a DataLoader does for each batch is a tenth of a small network's step.
    """

    _position: dict[str, int] = {"epoch": 0, "batches_done": 0}
    _resume: dict[str, int] | None = None

    @override
    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        resume, self._resume = self._resume, None
        return self._batches(resume)

    def _batches(self, resume: dict[str, int] | None) -> Iterator[Batch]:
        # Lightning asks for the iterator before it tells the sampler which epoch it is, and workers would fetch ahead
        # at once: as this is a generator, nothing happens before the first batch is wanted.
        epoch = getattr(self.sampler, "epoch", 0)
        done = resume["batches_done"] if resume is not None and resume["epoch"] == epoch else 0
        for batch in self._batches_from(done):
            done += 1
            self._position = {"epoch": epoch, "batches_done": done}
            yield batch

    def _batches_from(self, first: int) -> Iterator[Batch]:
        images, sampler, size = self.dataset, self.sampler, self.batch_size
        if (
            isinstance(images, InMemoryImages)
            and isinstance(sampler, EpochSampler)
            and size is not None
            and not (self.num_workers or self.drop_last)
        ):
            order = sampler.order().to(images.images.device)
            batches = (images.__getitems__(chosen) for chosen in torch.split(order, size)[first:])
            return map(pinned, batches) if self.pin_memory else batches
        return islice(super().__iter__(), first, None)

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were given out."""
        return dict(self._position)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Let the next iterator start where the one that was saved had come to."""
        self._position = self._resume = dict(state_dict)


class InOrderLoader(DataLoader[Batch]):
    """A DataLoader that takes images in memory, in their own order and without workers, as slices of their tensors."""

    @override
    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        images, size = self.dataset, self.batch_size
        if (
            isinstance(images, InMemoryImages)
            and isinstance(self.sampler, SequentialSampler)
            and size is not None
            and not (self.num_workers or self.drop_last)
        ):
            batches = zip(torch.split(images.images, size), torch.split(images.labels, size), strict=True)
            return map(pinned, batches) if self.pin_memory else batches
        return super().__iter__()


def fit_on(device: torch.device, images: InMemoryImages) -> bool:
    """Whether a GPU has room for images beside what training needs: they may take a quarter of what is free."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return images.size <= free // 4


def pinned(batch: Batch) -> Batch:
    """A batch in memory from which a GPU copies while the processor goes on."""
    images, labels = batch
    return images.pin_memory(), labels.pin_memory()


def unchanged(batch: T) -> T:
    """The collate function of a data set that fetches whole batches."""
    return batch
