"""Figures as files."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from sparsity.plotting.fonts import lean_font
from sparsity.plotting.style import DPI, STYLE

_LONG_NUMBER = re.compile(rb"([1-9]\d*\.\d\d)\d+")  # a coordinate; scale factors begin with 0


Kind = Literal["png", "pdf", "svg"]


def save_figure(figure: Figure, path: Path, kinds: Sequence[Kind] = ("png", "pdf")) -> None:
    """Write `path` + `.png` (150 dpi) and `.pdf` (vectors, text as text); the same figure gives the same bytes.

    Args:
        figure: Any figure.
        path: Without suffix; its folder is made if need be.
        kinds: Of files, as in `figure_bytes`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        path.with_name(f"{path.name}.{kind}").write_bytes(figure_bytes(figure, kind))


def small_png(figure: Figure, palette: Image.Image | None = None) -> bytes:
    """A figure as PNG in few colours, a fifth of the size that many thin lines have in all.

    Args:
        figure: Any figure.
        palette: An image whose colours these are; by default the 128 that come nearest.
    """
    image = Image.open(io.BytesIO(figure_bytes(figure, "png"))).convert("RGB")
    content = io.BytesIO()
    reduced = image.quantize(128, palette=palette, dither=Image.Dither.NONE)
    reduced.save(content, "png", optimize=True, dpi=(DPI, DPI))
    return content.getvalue()


def figure_bytes(figure: Figure, kind: Kind) -> bytes:
    """A figure as a file's content: PNG (150 dpi), PDF (text as text) or SVG (text as text, without its font).

    The same figure gives the same bytes.

    Args:
        figure: Any figure.
        kind: Of file.
    """
    metadata: dict[str, dict[str, str | None]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    content = io.BytesIO()
    fonts = {"font.sans-serif": [lean_font(_text_of(figure))]} if kind == "pdf" else {}
    with style.context(["default", STYLE, {"svg.hashsalt": "sparsity", **fonts}]):
        figure.savefig(content, format=kind, dpi=DPI, metadata=metadata[kind])
    if kind == "svg":  # a hundredth of a point is finer than any screen
        return _LONG_NUMBER.sub(rb"\1", content.getvalue())
    return content.getvalue()


def _text_of(figure: Figure) -> str:
    return "".join(text.get_text() for text in figure.findobj(Text))
