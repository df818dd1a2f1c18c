"""A picture as one HTML page that loads nothing.

The script is our own and small (`templates/network.js` draws, `focus.js` listens): what libraries for graphs offer is
placing nodes, and here layers say where each unit stands; what is left is drawing lines on a canvas and finding the dot
under a pointer.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparsity.formatting import percent
from sparsity.graph.weights import Array, FloatArray
from sparsity.html import templates
from sparsity.viewer.picture import NEGATIVE, POSITIVE, Column, Counts, Picture

_TEMPLATES = templates("sparsity.viewer")


def network_page(pictures: Mapping[str, Picture], image: bytes, title: str) -> str:
    """The whole page.

    Args:
        pictures: One or two, by the networks' names, as of `sparsity.viewer.build.pictures`.
        image: A PNG of them, for readers without scripts.
        title: Above everything.
    """
    shown = [
        {
            "name": name,
            "summary": picture.summary(),
            "notes": picture.notes(),
            "rows": [(layer, *_cells(counts)) for layer, counts in picture.layers.items()]
            + [("all layers", *_cells(picture.total))],
        }
        for name, picture in pictures.items()
    ]
    return _TEMPLATES.get_template("network.html").render(
        title=title,
        networks=shown,
        has_ties=any(picture.ties.size for picture in pictures.values()),
        # `tojson` writes <, > and & as \\u003c and so on: no name can end the script element.
        data=[_record(picture) for picture in pictures.values()],
        image=f"data:image/png;base64,{base64.b64encode(image).decode()}",
        positive=POSITIVE,
        negative=NEGATIVE,
    )


def _cells(counts: Counts) -> tuple[str, ...]:
    numbers = (counts.units, counts.alive, counts.kept, counts.size)
    return (*(f"{number:,}" for number in numbers), percent(counts.density), f"{counts.effective:,}")


def _record(picture: Picture) -> dict[str, Any]:
    """What the script reads: plain values, and arrays as base64 of little-endian numbers."""
    edges = picture.edges
    order = np.argsort(picture.levels(), kind="stable")  # strong ones are drawn over weak ones
    edges = edges.take(order)
    return {
        "columns": [_column(column) for column in picture.columns],
        "state": _packed(picture.state, "u1"),
        "fanIn": _packed(picture.fan_in, "<u4"),
        "fanOut": _packed(picture.fan_out, "<u4"),
        "source": _packed(edges.source, "<u4"),
        "target": _packed(edges.target, "<u4"),
        "value": _packed(edges.value, "<f4"),
        "strength": _packed(edges.strength, "<f4"),
        "level": _packed(np.rint(255 * picture.levels()[order]), "u1"),
        "kept": _packed(edges.kept, "<u4"),
        "size": _packed(edges.size, "<u4"),
        "onPath": _packed(edges.on_path, "u1"),
        "shared": _packed(edges.shared > 0, "u1"),
        "ties": _packed(picture.ties, "<u4"),
        "maps": {name: _map(weights) for name, weights in picture.maps.items()},
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "units": column.units,
        "first": column.first,
        "dots": column.dots,
        "side": column.side,
        "grid": column.grid,
        "isLayer": column.is_layer,
    }


def _map(weights: FloatArray) -> dict[str, Any]:
    """Of each unit its weights over the largest of them, in steps of 1 / 127."""
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1).reshape(-1, 1, 1, 1)
    scaled = np.divide(weights, largest, out=np.zeros_like(weights), where=largest > 0)
    return {"shape": list(weights.shape[1:]), "values": _packed(np.rint(127 * scaled), "i1")}


def _packed(values: Array | Sequence[int], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.dtype(kind)).tobytes()).decode()
