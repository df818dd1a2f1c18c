"""What a pointer finds in a figure: names and values of its marks, which SVG files carry and no other file.

A figure is looked at on paper, on a dashboard and on a page that can be explored. Only for the last does a drawn mark
say what it shows (`mark`), and whose it is (`gid=of(name)` of whatever artist); `sparsity.plotting.inline` reads both.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.transforms import Transform

from sparsity.formatting import key
from sparsity.graph.weights import FloatArray

ON_COLOUR = "on-colour"
"""The gid of what lies on a colour of its own, such as numbers on a map: a dark page leaves it as it is."""

LEGEND = "legend"
"""The gid of legends."""

KINDS = ("tip", "slot", "cells", "cover")
"""The classes of what a pointer finds."""

_OF = "of "
_SMALLEST = 9.0
"""Points; a pointer does not find what is smaller."""


def of(*names: str) -> str:
    """The gid of what belongs to some methods or networks: a mark of a line, a violin, an entry of a legend."""
    return _OF + key(*names)


def key_of(gid: str) -> str | None:
    """The `key` in a gid that `of` has made; None of any other."""
    return gid.removeprefix(_OF) if gid.startswith(_OF) else None


class Areas(Artist):
    """Rectangles that are seen by a pointer only, one element of SVG each.

    Args:
        boxes: `[n, 4]`: left, low, right, high in the coordinates of `transform`; those that are too small for a
            pointer are widened.
        kind: Their class.
        attributes: Of each.
        titles: Of each, what it shows.
        transform: From the coordinates of the boxes.
    """

    def __init__(
        self,
        boxes: FloatArray,
        kind: str,
        attributes: Sequence[dict[str, str]],
        titles: Sequence[str],
        transform: Transform,
    ) -> None:
        super().__init__()
        self.boxes, self.kind, self.attributes, self.titles = boxes.reshape(-1, 2, 2), kind, attributes, titles
        self.set_transform(transform)
        self.set_in_layout(False)
        self.set_zorder(10)

    def draw(self, renderer: RendererBase) -> None:
        """Write the rectangles, where that is an SVG."""
        writer: Any = getattr(renderer, "writer", None)  # of elements, which no other renderer has
        if writer is None or not len(self.boxes):
            return
        _, height = renderer.get_canvas_width_height()
        corners = self.get_transform().transform(self.boxes.reshape(-1, 2)).reshape(-1, 2, 2)
        middles, sizes = corners.mean(1), np.maximum(np.abs(np.diff(corners, axis=1)[:, 0]), _SMALLEST)
        left, top = (middles[:, 0] - sizes[:, 0] / 2), (height - middles[:, 1] - sizes[:, 1] / 2)
        places = zip(left.tolist(), top.tolist(), *sizes.T.tolist(), strict=True)
        names = ("x", "y", "width", "height")
        for place, attributes, title in zip(places, self.attributes, self.titles, strict=True):
            written = {name: f"{value:.1f}" for name, value in zip(names, place, strict=True)}
            writer.start("rect", {"class": self.kind, **written, **attributes})
            if title:
                writer.element("title", title)
            writer.end("rect")


def mark(axes: Axes, boxes: FloatArray, names: Sequence[str], texts: Sequence[str]) -> None:
    """Let a pointer find what is drawn in some places.

    Args:
        axes: Where it is drawn.
        boxes: `[n, 4]`: left, low, right, high in data; of points both ends are equal. Those not finite are left out.
        names: Whose each is; empty if nobody's.
        texts: What each shows.
    """
    seen = [
        (box, {"data-of": key(name)} if name else {}, text)
        for box, name, text in zip(boxes, names, texts, strict=True)
        if np.isfinite(box).all()
    ]
    if seen:
        found, attributes, titles = zip(*seen, strict=True)
        axes.add_artist(Areas(np.array(found), "tip", attributes, titles, axes.transData))


def mark_points(axes: Axes, x: Sequence[float], y: Sequence[float], name: str, texts: Sequence[str]) -> None:
    """Let a pointer find points of one method, see `mark`."""
    places = np.array([x, y, x, y], dtype=np.float64).T
    mark(axes, places, [name] * len(texts), texts)


def mark_slots(axes: Axes, layers: Sequence[str]) -> None:
    """Say which layer is at the places 0, 1, 2, ... of the axis below."""
    x = np.arange(len(layers), dtype=np.float64)
    boxes = np.stack([x - 0.5, 0 * x, x + 0.5, 0 * x + 1], axis=1)
    attributes = [{"data-layer": layer} for layer in layers]
    axes.add_artist(Areas(boxes, "slot", attributes, [""] * len(layers), axes.get_xaxis_transform()))


def mark_cells(axes: Axes, texts: Sequence[str], names: Sequence[str]) -> None:
    """Let a pointer find the cells of a matrix: one area with all texts, since a page has ten thousands of cells.

    Over it lie rows and columns of each name, to be covered where the name is hidden.

    Args:
        axes: With the matrix as its image.
        texts: Of the cells, row by row; without blanks.
        names: Of rows and columns.
    """
    n = len(names)
    whole = np.array([[-0.5, n - 0.5, n - 0.5, -0.5]])
    cells = {"data-names": key(*names), "data-cells": " ".join(texts)}
    axes.add_artist(Areas(whole, "cells", [cells], [""], axes.transData))
    places = np.arange(n, dtype=np.float64)
    ends = places * 0 - 0.5, places - 0.5, places * 0 + n - 0.5, places + 0.5
    rows = np.stack(ends, axis=1)
    strips = np.concatenate([rows, rows[:, [1, 0, 3, 2]]])
    attributes = [{"data-of": key(name)} for name in [*names, *names]]
    axes.add_artist(Areas(strips, "cover", attributes, [""] * (2 * n), axes.transData))
