"""What becomes of a mask that moves: churn, exploration, and the numbers of inputs that units are left with."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparsity.errors import SparsityError
from sparsity.graph.weights import BoolArray, FloatArray, IntArray

_MOST_FRAMES = 48
_MOST_BYTES = 2**20
"""Of all frames together, since they are in every checkpoint."""
_FEWEST_FRAMES = 4

_Packed = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class LayerUpdate:
    """A layer's part in a mask.

    Args:
        layer: Its name.
        density: Kept weights of all, in [0, 1].
        fewest_inputs: Of its units, how many kept weights the one with the fewest has.
        mean_inputs: Mean over its units.
        most_inputs: Those of the unit with the most.
        gini: Of the units' numbers of kept weights: 0 if all have equally many, towards 1 if one has all.
    """

    layer: str
    density: float
    fewest_inputs: int
    mean_inputs: float
    most_inputs: int
    gini: float


@dataclass(frozen=True, kw_only=True)
class Update:
    """A mask that differs from the one before it.

    Args:
        step: Optimizer steps taken before it.
        density: Kept weights of all, in [0, 1].
        churn: Of the kept weights those that the mask before did not keep, in [0, 1].
        iou_with_last: Weights that this mask and the one before keep, of those that either keeps.
        explored: Weights that any mask so far has kept, of all (R_s of Liu et al. 2021, "Do We Actually Need Dense
            Over-Parameterization?").
        regrown_again: Of the kept weights those that had been kept before, were dropped, and came back.
        units_without_inputs: Units whose weights are all pruned.
        layers: Layer by layer.
    """

    step: int
    density: float
    churn: float
    iou_with_last: float
    explored: float
    regrown_again: float
    units_without_inputs: int
    layers: tuple[LayerUpdate, ...] = field(repr=False)


class MaskHistory:
    """Looks at one mask after the other, and keeps what tells of all: a few bits per weight, and some masks as frames.

    Example:
        >>> history = MaskHistory()
        >>> first, second = torch.tensor([[1, 0], [0, 1]]).bool(), torch.tensor([[1, 1], [0, 0]]).bool()
        >>> _ = history.look(0, {"fc": first}), history.look(10, {"fc": second})
        >>> [(update.step, update.churn, update.explored) for update in history.updates]
        [(0, 0.0, 0.5), (10, 0.5, 0.75)]
    """

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self._shapes: dict[str, tuple[int, int]] = {}
        self._last: BoolArray | None = None
        self._ever: BoolArray | None = None
        self._dropped: BoolArray | None = None
        self._frames: list[tuple[int, _Packed]] = []
        self._every = 1

    def look(self, step: int, mask: Mapping[str, Tensor]) -> Update | None:
        """Take a mask into account, if it differs from the last one.

        Args:
            step: Optimizer steps taken so far.
            mask: By layer name bool `[units, what each reads]`, the same layers every time, on any device.

        Returns:
            What it tells; None if nothing has moved.

        Raises:
            SparsityError: If there are other layers than before.
        """
        shapes = {name: (len(rows), rows[0].numel()) for name, rows in mask.items()}
        if self._last is not None and shapes != self._shapes:
            raise SparsityError("the masks are of other layers than the ones before; look at one network only")
        self._shapes = shapes
        now = torch.cat([rows.flatten() for rows in mask.values()]).cpu().numpy()
        last = now if self._last is None else self._last
        if self._last is not None and np.array_equal(now, last):
            return None
        ever = now if self._ever is None else self._ever | now
        dropped = (last & ~now) if self._dropped is None else self._dropped | (last & ~now)
        self._last, self._ever, self._dropped = now, ever, dropped
        inputs = {name: rows.flatten(1).sum(1).cpu().numpy() for name, rows in mask.items()}
        kept = _count(now)
        update = Update(
            step=step,
            density=kept / now.size,
            churn=_count(now & ~last) / max(kept, 1),
            iou_with_last=_iou(now, last),
            explored=_count(ever) / now.size,
            regrown_again=_count(now & dropped) / max(kept, 1),
            units_without_inputs=sum(int((numbers == 0).sum()) for numbers in inputs.values()),
            layers=tuple(_layer_update(name, numbers, self._shapes[name][1]) for name, numbers in inputs.items()),
        )
        self.updates.append(update)
        self._keep_frame(step, now)
        return update

    @property
    def has_moved(self) -> bool:
        """Whether there was more than one mask."""
        return len(self.updates) > 1

    def frames(self) -> Iterator[tuple[int, dict[str, BoolArray]]]:
        """Steps and masks `[units, what each reads]`, in order, about equally far apart; the last one among them."""
        for step, packed in self._all_frames():
            yield step, self._by_layer(_unpacked(packed, self._size))

    def iou_with_last_mask(self) -> dict[int, float]:
        """By step of the frames, how much of their masks is in the last one."""
        assert self._last is not None
        return {step: _iou(_unpacked(packed, self._size), self._last) for step, packed in self._all_frames()}

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors, numbers and strings."""
        vectors = {"last": self._last, "ever": self._ever, "dropped": self._dropped}
        return {
            "shapes": {name: list(shape) for name, shape in self._shapes.items()},
            "updates": [asdict(update) for update in self.updates],
            "every": self._every,
            "steps": [step for step, _ in self._frames],
            "frames": torch.from_numpy(np.stack([p for _, p in self._frames])) if self._frames else None,
            **{name: None if v is None else torch.from_numpy(np.packbits(v)) for name, v in vectors.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one was."""
        self._shapes = {name: (shape[0], shape[1]) for name, shape in state["shapes"].items()}
        self.updates = [
            Update(**{**update, "layers": tuple(LayerUpdate(**layer) for layer in update["layers"])})
            for update in state["updates"]
        ]
        self._every = state["every"]
        packed = [] if state["frames"] is None else list(state["frames"].numpy())
        self._frames = list(zip(state["steps"], packed, strict=True))
        self._last, self._ever, self._dropped = (
            None if state[name] is None else _unpacked(state[name].numpy(), self._size)
            for name in ("last", "ever", "dropped")
        )

    @property
    def _size(self) -> int:
        return sum(units * inputs for units, inputs in self._shapes.values())

    def _by_layer(self, flat: BoolArray) -> dict[str, BoolArray]:
        ends = np.cumsum([units * inputs for units, inputs in self._shapes.values()])[:-1]
        parts = np.split(flat, ends)
        return {name: part.reshape(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def _keep_frame(self, step: int, mask: BoolArray) -> None:
        if (len(self.updates) - 1) % self._every:
            return
        packed = np.packbits(mask)
        self._frames.append((step, packed))
        most = max(_FEWEST_FRAMES, min(_MOST_FRAMES, _MOST_BYTES // packed.size))
        if len(self._frames) > most:
            self._frames = self._frames[::2]
            self._every *= 2

    def _all_frames(self) -> list[tuple[int, _Packed]]:
        if self._last is None or (self._frames and self._frames[-1][0] == self.updates[-1].step):
            return self._frames
        return [*self._frames, (self.updates[-1].step, np.packbits(self._last))]


def _layer_update(name: str, inputs: IntArray, most: int) -> LayerUpdate:
    return LayerUpdate(
        layer=name,
        density=float(inputs.sum()) / (inputs.size * most),
        fewest_inputs=int(inputs.min()),
        mean_inputs=float(inputs.mean()),
        most_inputs=int(inputs.max()),
        gini=gini(inputs.astype(np.float64)),
    )


def gini(values: FloatArray) -> float:
    """The Gini coefficient of non-negative numbers: mean absolute difference of two of them, over twice their mean.

    Args:
        values: `[n]`.

    Returns:
        In [0, 1 - 1 / n]; 0 if all are equal, zeros too.
    """
    total = values.sum()
    if not total:
        return 0.0
    ranks = 2 * np.arange(1, values.size + 1) - values.size - 1
    return float((ranks * np.sort(values)).sum() / (values.size * total))


def _count(chosen: BoolArray) -> int:
    return int(np.count_nonzero(chosen))  # NumPy's own numbers have no place in a checkpoint


def _iou(a: BoolArray, b: BoolArray) -> float:
    either = _count(a | b)
    return _count(a & b) / either if either else 1.0


def _unpacked(packed: _Packed, size: int) -> BoolArray:
    return np.unpackbits(packed, count=size).astype(bool)
