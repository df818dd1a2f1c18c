"""Masks that move, as one animated picture."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from sparsity.errors import SparsityError
from sparsity.graph.weights import Array, BoolArray, FloatArray

_WIDTH = 640
_LARGEST = (96, 200)
"""Rows and columns of a layer; larger ones are binned."""
_SMALLEST = 24
_GAP, _LINE = 6, 14
_MILLISECONDS = 150
_MOST_BYTES = 2_000_000


def mask_animation(frames: Sequence[tuple[int, Mapping[str, BoolArray]]]) -> bytes:
    """An animated GIF of masks: a picture per layer, a row per unit; white is pruned, black kept, grey in between.

    Layers that are too large are binned: a pixel is the share that is kept. If a file of all frames is over 2 MB, every
    other one is left out until it is not.

    Args:
        frames: Steps and masks by layer, `[units, what each reads]`; the same layers every time.

    Raises:
        SparsityError: If there is no frame.
    """
    if not frames:
        raise SparsityError("there is no mask to draw")
    while True:
        pictures = [_picture(step, masks) for step, masks in frames]
        file = io.BytesIO()
        pictures[0].save(
            file, "GIF", save_all=True, append_images=pictures[1:], loop=0, optimize=True,
            duration=[*[_MILLISECONDS] * (len(pictures) - 1), 10 * _MILLISECONDS],
        )  # fmt: skip
        if file.tell() <= _MOST_BYTES or len(frames) == 1:
            return file.getvalue()
        frames = [*frames[:-1:2], frames[-1]]


def _picture(step: int, masks: Mapping[str, BoolArray]) -> Image.Image:
    tiles = {name: _tile(mask) for name, mask in masks.items()}
    places, height = _flow([tile.shape for tile in tiles.values()])
    canvas = Image.new("L", (_WIDTH, height), 255)
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, 2), f"step {step:,}", fill=0)
    for (name, tile), (x, y) in zip(tiles.items(), places, strict=True):
        draw.text((x, y), name[: max(4, tile.shape[1] // 6)], fill=0)
        canvas.paste(Image.fromarray(tile), (x, y + _LINE))
        draw.rectangle((x - 1, y + _LINE - 1, x + tile.shape[1], y + _LINE + tile.shape[0]), outline=190)
    return canvas


def _tile(mask: BoolArray) -> Array:
    """`[height, width]`, uint8: what is kept, dark."""
    shares = _binned(_binned(mask.reshape(len(mask), -1).astype(np.float64), _LARGEST[0]).T, _LARGEST[1]).T
    larger = [max(1, -(-_SMALLEST // size)) for size in shares.shape]
    levels = (255 * (1 - shares)).round().astype(np.uint8)
    return np.kron(levels, np.ones(larger, dtype=np.uint8))


def _binned(rows: FloatArray, most: int) -> FloatArray:
    """Means of neighbouring rows, at most so many."""
    bins = min(most, len(rows))
    starts = np.arange(bins) * len(rows) // bins
    sizes = np.diff([*starts, len(rows)])
    found: FloatArray = np.add.reduceat(rows, starts, axis=0) / sizes[:, None]
    return found


def _flow(shapes: Sequence[tuple[int, ...]]) -> tuple[list[tuple[int, int]], int]:
    """Corners of pictures side by side in lines, and the height of all."""
    places, x, y, tallest = [], _GAP, _LINE + _GAP, 0
    for height, width in shapes:
        if x + width + _GAP > _WIDTH and x > _GAP:
            x, y, tallest = _GAP, y + tallest + _LINE + _GAP, 0
        places.append((x, y))
        x, tallest = x + width + 2 * _GAP, max(tallest, height)
    return places, y + tallest + _LINE + _GAP
