"""Every method of every group of figures runs shortened, on small networks and scikit-learn's digits, exactly."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsity.reproduce.targets import groups_of, read_targets
from sparsity.study.grid import Point, read_grid

ROOT = Path(__file__).parent.parent.parent
TARGETS = read_targets(ROOT / "reproduce" / "targets.csv")
SHORT = {
    "data": "Digits", "data.limit": 64, "data.batch_size": 32, "data.val_size": 32, "trainer.max_epochs": 4,
    "trainer.accelerator": "cpu", "trainer.enable_progress_bar": False, "trainer.callbacks": None,
}  # fmt: skip
SMALL = {
    "lenet_mnist": {"model.network.widths": [30, 10]},
    "thesis_fc": {},
    "wrn22_cifar10": {"model.network.depth": 10, "model.network.widen": 1},
}
"""By group; the others are ResNets and VGGs of a small width."""


def methods() -> Iterator[Any]:
    """The first point of each method of each group."""
    for group in groups_of(TARGETS, ()):
        seen = set()
        for point in read_grid(ROOT / "configs" / "studies" / f"{group}.yaml"):
            method = tuple(
                value for axis, value in point.axes.items()
                if axis in ("config", "pruner", "pruner.rewind", "ablation")
            )  # fmt: skip
            if method not in seen and any(t.group == group and t.stands_for(point) for t in TARGETS):
                seen.add(method)
                yield pytest.param(group, point, id=f"{group}-{'-'.join(method) or 'all'}")


def shortened(group: str, point: Point) -> list[str]:
    settings = dict(point.settings) | SHORT | SMALL.get(group, {"model.network.width": 4})
    if group not in ("lenet_mnist", "thesis_fc"):
        settings["model.network.input_shape"] = [1, 28, 28]
    pruner = str(settings.get("pruner")) + "".join(path.stem for path in point.configs)
    if "gem_" in pruner:
        settings |= {"pruner.search_epochs": 2, "pruner.period": 1, "pruner.min_kept": 1}
    if "ynFlow" in pruner or "synflow" in pruner:
        settings["pruner.iterations"] = 5
    if "SNIP" in pruner or "GraSP" in pruner:
        settings["pruner.samples_per_class"] = 1
    if settings.get("pruner.rounds"):
        settings["pruner.rounds"] = 1
    if settings.get("pruner.rewind") == 11264:
        settings["pruner.rewind"] = 2
    return Point(point.axes, point.configs, settings).arguments


@pytest.mark.parametrize(("group", "point"), list(methods()))
def test_a_method_of_a_group_runs_shortened_to_exactly_its_density(
    group: str, point: Point, sparsity: Any, tmp_path: Path
) -> None:
    outcome = sparsity(
        "fit", *shortened(group, point), "--test_after_fit", "true", "--trainer.default_root_dir", tmp_path
    )
    assert outcome.code == 0, outcome.err
    (summary,) = tmp_path.glob("lightning_logs/*/summary.json")
    found = yaml.safe_load(summary.read_text())
    assert found["kept"] == round(found["density_asked"] * found["weights"])
    assert found["density_asked"] == float(point.axes["pruner.density"].replace("none", "1"))
    assert set(found["test_accuracy"]) >= {"last"}
