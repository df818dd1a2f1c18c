"""A measure is one record: one that is added is found wherever measures are."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sparsity.analysis import MEASURES, DistanceMeasure, Measure, layer_distance, unit_distances
from sparsity.analysis.comparison.measures import distance_measures
from tests.saved_runs import save_network

GUIDE = Path(__file__).parents[3] / "docs" / "analysis.md"


@pytest.fixture
def hamming(monkeypatch: pytest.MonkeyPatch) -> DistanceMeasure:
    """The measure that the guide adds, for one test."""
    (block,) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.S | re.M)
    monkeypatch.setitem(MEASURES, "hamming", MEASURES["nnstd"])  # so that it goes when the test ends
    exec(block, {})
    added = MEASURES["hamming"]
    assert isinstance(added, DistanceMeasure)
    return added


@pytest.fixture
def networks(tmp_path: Path) -> list[Path]:
    """Checkpoints of two methods' runs, enough for matrices by layer."""
    paths = [tmp_path / f"{method}_30_{seed}.ckpt" for method in ("random", "synflow") for seed in (1, 2)]
    for seed, path in enumerate(paths):
        save_network(path, seed)
    return paths


def test_a_measure_that_is_added_is_known_by_its_name(hamming: DistanceMeasure) -> None:
    a, b = np.array([[1.0, 0.0, 2.0, 0.0]]), np.array([[3.0, 1.0, 0.0, 0.0]])
    assert unit_distances(a, b, "hamming") == [[0.5]]
    assert layer_distance(a, b, "hamming").mean_matched == 0.5
    assert "hamming" in distance_measures()


def test_a_measure_that_is_added_is_analysed_drawn_and_written(
    hamming: DistanceMeasure, networks: list[Path], sparsity: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome = sparsity("analyze", *networks[:3], "--output", out)
    assert outcome.code == 0, outcome.err
    assert "Hamming" in outcome.out
    rows = list(csv.DictReader((out / "distances.csv").read_text().splitlines()))
    assert {row["measure"] for row in rows} == {"nnstd", "sasd", "maed", "hamming"}
    (record,) = json.loads((out / "distances.json").read_text())
    assert record["measures"]["hamming"]["mean"][0][1] > 0
    assert (out / "hamming.png").is_file()
    assert (out / "hamming_layers.png").is_file()


def test_a_measure_that_is_added_is_in_the_report(
    hamming: DistanceMeasure, networks: list[Path], sparsity: Any, tmp_path: Path
) -> None:
    outcome = sparsity("report", *networks, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Hamming</th>" in page
    assert "NNSTD, SaSD, MAED and Hamming are 0 for equal networks" in page
    assert hamming.title in page
    assert hamming.caption in page
    assert len(list((tmp_path / "out").glob("hamming_*.pdf"))) == 1


def test_a_measure_that_is_added_is_on_the_dashboard(hamming: DistanceMeasure, tmp_path: Path) -> None:
    from sparsity.callbacks import NetworkComparison, Random
    from tests.callbacks.test_analysis import fit, small

    run = fit(tmp_path, small(), Random(0.3), NetworkComparison(images=0))
    tags = EventAccumulator(str(run)).Reload().Tags()
    assert "comparison/initial/hamming" in tags["scalars"]
    assert "comparison/hamming_layers" in tags["images"]


@pytest.mark.parametrize("measure", [m for m in MEASURES.values() if m.title], ids=lambda measure: measure.name)
def test_a_measure_that_is_drawn_has_all_its_words(measure: Measure) -> None:
    assert measure.heading
    assert measure.label
    assert measure.caption.endswith(".")


def test_a_distance_of_a_layer_to_itself_is_what_its_record_says() -> None:
    weights = np.random.default_rng(0).normal(size=(5, 7)) * (np.random.default_rng(1).random((5, 7)) < 0.5)
    for name, measure in distance_measures().items():
        assert layer_distance(weights, weights, name).mean_matched == measure.of_itself
