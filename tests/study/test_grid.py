from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsity.errors import SparsityError
from sparsity.study.distributions import Range
from sparsity.study.grid import read_grid

ROOT = Path(__file__).parent.parent.parent


DRAWN = {"lr": {"low": 0.001, "high": 1.0, "log": True}}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    (tmp_path / "base.yaml").write_text("data: Digits\n")
    (tmp_path / "other.yaml").write_text("data: MNIST\n")

    def study(**content: Any) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return study


def test_axes_are_crossed_the_last_one_fastest(write: Any) -> None:
    points = read_grid(write(axes=[{"pruner": ["SynFlow", "SNIP"]}, {"pruner.density": [0.5, 0.1]}]))
    assert [point.label for point in points] == ["SynFlow-0.5", "SynFlow-0.1", "SNIP-0.5", "SNIP-0.1"]


def test_keys_of_one_entry_are_zipped(write: Any) -> None:
    points = read_grid(write(axes=[{"pruner.density": [0.5, 0.1], "trainer.max_epochs": [10, 20]}]))
    assert [dict(point.axes) for point in points] == [
        {"pruner.density": "0.5", "trainer.max_epochs": "10"},
        {"pruner.density": "0.1", "trainer.max_epochs": "20"},
    ]


def test_excluded_combinations_are_left_out(write: Any) -> None:
    axes = [{"pruner": ["SynFlow", "Random"]}, {"pruner.density": [0.5, 0.1]}]
    points = read_grid(write(axes=axes, exclude=[{"pruner": "Random", "pruner.density": 0.1}]))
    assert [point.label for point in points] == ["SynFlow-0.5", "SynFlow-0.1", "Random-0.5"]


def test_arguments_are_base_configs_then_what_is_set_then_axes_with_classes_before_their_arguments(
    write: Any, tmp_path: Path
) -> None:
    (point,) = read_grid(
        write(config="base.yaml", set={"pruner.iterations": 5, "data": "Digits"}, axes=[{"pruner": ["SynFlow"]}])
    )
    assert point.arguments == [
        "--config", str(tmp_path / "base.yaml"), "--data", "Digits", "--pruner", "SynFlow", "--pruner.iterations", "5",
    ]  # fmt: skip


def test_base_configs_can_be_an_axis(write: Any, tmp_path: Path) -> None:
    points = read_grid(write(config="base.yaml", axes=[{"config": ["other.yaml", ["base.yaml", "other.yaml"]]}]))
    assert [[path.name for path in point.configs] for point in points] == [
        ["base.yaml", "other.yaml"],
        ["base.yaml", "base.yaml", "other.yaml"],
    ]
    assert [point.label for point in points] == ["other", "base+other"]


def test_a_dense_run_is_not_repeated_over_densities(write: Any) -> None:
    axes = [{"pruner": [None, "SynFlow"]}, {"pruner.density": [0.5, 0.1]}, {"seed_everything": [1, 2]}]
    labels = [point.label for point in read_grid(write(axes=axes))]
    assert labels[:2] == ["none-none-1", "none-none-2"]
    assert len(labels) == 2 + 4


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (21, "21"), (None, "none"), (True, "True"), ("SynFlow", "SynFlow"), ("a.b.SynFlow", "SynFlow"),
     ("0.05", "0.05"), ("a/last.ckpt", "last"), ({"class_path": "a.SET", "init_args": {"start": 0.1}}, "SET"),
     ([1, "b"], "1+b"), (0.123456789, "0.123456789")],
)  # fmt: skip
def test_values_are_short_in_names(value: Any, text: str, write: Any) -> None:
    (point,) = read_grid(write(axes=[{"some.key": [value]}]))
    assert point.axes == {"some.key": text}


def test_values_that_are_the_same_in_short_are_written_in_full(write: Any) -> None:
    set_at = {"class_path": "SET", "init_args": {"rate": 0.1}}
    points = read_grid(write(axes=[{"pruner": ["SET", set_at, "RigL"]}, {"mask": ["a/last.ckpt", "b/last.ckpt"]}]))
    assert [tuple(point.axes.values()) for point in points[::2]] == [
        ("SET", "a/last.ckpt"),
        ('{"class_path": "SET", "init_args": {"rate": 0.1}}', "a/last.ckpt"),
        ("RigL", "a/last.ckpt"),
    ]
    assert len({point.label for point in points}) == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"axis": []}, "not a study: it has 'axis'"),
        ({"axes": {"pruner": ["SET"]}}, "'axes' of .* must be a list"),
        ({"set": ["a"]}, "'set' of .* must be a mapping"),
        ({"axes": [{"pruner": "SET"}]}, "gives lists of values"),
        ({"axes": [{"pruner": []}]}, "gives lists of values"),
        ({"axes": [{"a": [1], "b": [1, 2]}]}, "as many values each, not {'a': 1, 'b': 2}"),
        ({"axes": [{"a": [1]}, {"a": [2]}]}, "the axis 'a' twice"),
        ({"axes": [{"a": [1]}], "exclude": [{"b": 1}]}, "no combination of values of its axes"),
        ({"axes": [{"a": [1]}], "exclude": [{"a": 1}]}, "excludes all of its runs"),
        ({"axes": [{"a": ["RigL"]}], "exclude": [{"a": "Rigl"}]}, "excludes {'a': 'Rigl'}, which none of its runs has"),
        ({"axes": [DRAWN]}, "draws lr and does not say how often; add trials"),
        ({"axes": [DRAWN], "trials": 0}, "trials of .* must be a whole number of at least 1, not 0"),
        ({"axes": [DRAWN], "trials": 2.5}, "whole number of at least 1, not 2.5"),
        ({"axes": [DRAWN], "trials": True}, "whole number of at least 1, not True"),
        ({"axes": [{"a": [1]}], "trials": 3}, "has trials, and no axis with a distribution"),
        ({"axes": [{**DRAWN, "a": [1]}], "trials": 3}, "a distribution beside other keys in the entry"),
        ({"axes": [{**DRAWN, "a": {"low": 1, "high": 2}}], "trials": 3}, "give it an entry of its own"),
        ({"axes": [DRAWN, {"lr": [1]}], "trials": 3}, "the axis 'lr' twice"),
        ({"axes": [DRAWN, {"a": [1]}], "trials": 3, "exclude": [{"lr": 1}]}, "excludes values of lr, which are drawn"),
        ({"axes": [{"seed_everything": {"low": 1, "high": 5}}], "trials": 3}, "draws seed_everything, but"),
        ({"config": "nowhere.yaml"}, "nowhere.yaml, which does not exist"),
        ({"axes": [{"config": ["nowhere.yaml"]}]}, "nowhere.yaml, which does not exist"),
    ],
    ids=lambda value: value[:25] if isinstance(value, str) else "",
)
def test_a_mistake_in_the_file_is_one_sentence(write: Any, content: dict[str, Any], message: str) -> None:
    with pytest.raises(SparsityError, match=message) as caught:
        read_grid(write(**content))
    assert "\n" not in str(caught.value)


def test_each_combination_of_the_lists_is_a_search_with_axes_in_their_order(write: Any) -> None:
    axes = [{"pruner": ["SynFlow", "SNIP"]}, DRAWN, {"seed_everything": [1, 2]}]
    points = read_grid(write(axes=axes, trials=7))
    assert [point.label for point in points] == ["SynFlow-1", "SynFlow-2", "SNIP-1", "SNIP-2"]
    assert list(points[0].axes) == ["pruner", "lr", "seed_everything"]
    assert [(point.trials, point.drawn) for point in points] == [(7, {"lr": Range(0.001, 1.0, log=True)})] * 4
    assert "lr" not in points[0].settings


def test_values_that_were_drawn_make_a_run_of_a_search(write: Any) -> None:
    (search,) = read_grid(write(axes=[DRAWN, {"pruner": ["SNIP"]}], trials=7))
    run = search.at({"lr": 0.003162})
    assert run.label == "0.003162-SNIP"
    assert run.arguments == ["--pruner", "SNIP", "--lr", "0.003162"]
    assert (run.trials, run.drawn) == (1, {})


def test_a_search_is_tried_at_both_ends_and_at_every_choice(write: Any) -> None:
    axes = [DRAWN, {"width": {"low": 50, "high": 200, "step": 50}}, {"depth": {"choices": [3, 4, 5]}}]
    (search,) = read_grid(write(axes=axes, trials=7))
    probes = [tuple(point.settings.values()) for point in search.probes]
    assert probes == [(0.001, 50, 3), (1.0, 200, 4), (0.001, 50, 5)]


def test_a_dense_run_has_no_use_for_what_is_drawn_for_pruners(write: Any) -> None:
    axes = [{"pruner": [None, "SET"]}, {"pruner.rate": {"low": 0.1, "high": 0.5}}]
    dense, sparse = read_grid(write(axes=axes, trials=7))
    assert (dense.trials, dense.drawn, dense.axes["pruner.rate"], dense.label) == (1, {}, "none", "none-none")
    assert (sparse.trials, sparse.label) == (7, "SET")


@pytest.mark.parametrize("text", ["a: [", "- 1", "just words"])
def test_what_is_no_study_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(SparsityError, match=r"study\.yaml is not"):
        read_grid(tmp_path / "study.yaml")
    with pytest.raises(SparsityError, match="cannot read the study"):
        read_grid(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("name", "runs"), [("quick", 12), ("thesis_fc", 45), ("thesis_resnet", 45), ("variants_fc", 36), ("search", 2)]
)
def test_the_studies_in_the_tree_have_the_runs_that_they_promise(name: str, runs: int) -> None:
    assert len(read_grid(ROOT / "configs" / "studies" / f"{name}.yaml")) == runs


def test_the_study_of_methods_has_every_pruner_and_one_dense_run_per_seed() -> None:
    import inspect

    import sparsity.callbacks
    from sparsity.callbacks import PruningCallback

    points = read_grid(ROOT / "configs" / "studies" / "methods_fc.yaml")
    pruners = {point.axes["pruner"] for point in points}
    concrete = {
        name
        for name, cls in vars(sparsity.callbacks).items()
        if inspect.isclass(cls) and issubclass(cls, PruningCallback) and not inspect.isabstract(cls)
    }
    assert pruners - {"none"} == concrete - {"MaskFrom"}
    assert len(points) == 3 + (len(pruners) - 1) * 12
