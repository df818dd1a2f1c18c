import numpy as np
import pytest

from sparsity.analysis.statistics.ranks import ranking
from sparsity.plotting.ranks import critical_difference_figure
from tests.plotting.drawing import drawn


@pytest.mark.parametrize("methods", [3, 4, 13])
def test_every_method_is_named_with_its_rank_and_every_clique_has_a_bar(methods: int) -> None:
    names = [f"method {k}" for k in range(methods)]
    scores = np.tile(np.arange(methods, 0, -1.0), (20, 1))
    found = ranking(scores, names)
    figure = critical_difference_figure(found)
    (axes,) = figure.axes
    words = [text.get_text() for text in axes.texts]
    assert [f"{name} ({rank:.2f})" for name, rank in zip(found.names, found.ranks, strict=True)] == words[:methods]
    assert len([line for line in axes.lines if line.get_linewidth() == 3]) == len(found.cliques)
    assert words[-1] == f"critical difference {found.critical_difference:.2f}"
    drawn(figure)
    inside = figure.bbox
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in (t.get_window_extent() for t in axes.texts))
