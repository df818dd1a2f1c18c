"""What tests of figures look at."""

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Layers = dict[str, np.ndarray]

RESNET110 = ["conv", *(f"layer{s}.{b}.conv{c}" for s in (1, 2, 3) for b in range(18) for c in (1, 2)), "fc"]


def drawn(figure: Figure) -> np.ndarray:
    """Draw as a dashboard does, outside the module's own style."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def lines_of(axes: Axes) -> list[str]:
    """The markers of the lines that connect points."""
    return [str(line.get_marker()) for line in axes.lines if line.get_linestyle() != "None"]


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def tick_labels(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_xticklabels()]


def overlaps(figure: Figure, axes: Axes) -> int:
    """How many neighbouring tick labels of the x axis run into each other."""
    drawn(figure)
    boxes = [text.get_window_extent() for text in axes.get_xticklabels() if text.get_rotation() != 45]
    return sum(left.x1 > right.x0 for left, right in pairwise(boxes))


def sparse(rng: np.random.Generator, density: float, *shape: int) -> np.ndarray:
    return rng.normal(size=shape) * (rng.random(shape) < density)


def a_network(rng: np.random.Generator, density: float = 0.3) -> Layers:
    return {f"fc{k}": sparse(rng, density, 20, 30) for k in range(4)}
