"""Training curves from TensorBoard's event files, over all sessions of a run."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path

from sparsity.diagnosis import one_line
from sparsity.errors import SparsityError
from sparsity.runs.folder import RunFolder

ACCURACY = "val/accuracy"
DENSITY = "density/network"
CURVES = (ACCURACY, "train/loss", "dynamics/explored", "dynamics/iou_with_last", DENSITY)

Curve = Mapping[int, float]
"""Values by the number of epochs trained, from 1, in order."""


def read_curves(sessions: Sequence[Path]) -> dict[str, Curve]:
    """Read what a run logged once per epoch, and its density, which is logged when it changes.

    Args:
        sessions: Its folders in order, one more for each time it was resumed.

    Returns:
        By tag; those of `CURVES` that were logged.

    Raises:
        SparsityError: If the event files of a session cannot be read.
    """
    read = [_read_session(folder) for folder in sessions]
    nothing: Curve = {}
    curves = {tag: reduce(stitched, [session.get(tag, nothing) for session in read], nothing) for tag in CURVES}
    return {tag: curve for tag, curve in curves.items() if curve}


def stitched(older: Curve, newer: Curve) -> Curve:
    """A curve that was resumed: what the older session logged after the epoch of its last checkpoint was redone."""
    resumed = min(newer, default=None)
    return {epoch: value for epoch, value in older.items() if resumed is None or epoch < resumed} | dict(newer)


def _read_session(folder: Path) -> dict[str, Curve]:
    try:
        return {tag: curve for place in RunFolder(folder).events_folders for tag, curve in _read_events(place).items()}
    # What a damaged file makes of TensorBoard is not limited to its own errors.
    except Exception as error:
        raise SparsityError(f"the event files in {folder} are damaged: {one_line(error)}") from error


def _read_events(folder: Path) -> dict[str, Curve]:
    # TensorBoard takes a moment to import.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    # 0: all of them; figures and histograms are passed over.
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 1, "histograms": 1, "tensors": 1})
    events.Reload()
    tags = events.Tags()["scalars"]
    epochs = {event.step: int(event.value) for event in events.Scalars("epoch")} if "epoch" in tags else {}
    logged = {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in CURVES if tag in tags}
    if DENSITY in logged:
        logged[DENSITY] = held(logged[DENSITY], epochs)
    return {tag: {epochs[s] + 1: value for s, value in found.items() if s in epochs} for tag, found in logged.items()}


def held(changes: Mapping[int, float], steps: Iterable[int]) -> dict[int, float]:
    """A number at the ends of epochs that is logged when it changes.

    Args:
        changes: By the number of steps trained.
        steps: The last one of each epoch, counted from 0.
    """
    found = {}
    for step in steps:
        known = [changed for changed in changes if changed <= step + 1]
        if known:
            found[step] = changes[max(known)]
    return found
