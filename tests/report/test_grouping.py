from typing import Any

from sparsity.report.grouping import differing, variant


def config(seed: int = 1, rescale: str | None = None, network: str = "FC", **arguments: Any) -> dict[str, Any]:
    return {
        "seed_everything": seed,
        "trainer": {"max_epochs": 5, "default_root_dir": f"runs/{seed}"},
        "model": {"network": {"class_path": f"sparsity.networks.{network}", "init_args": arguments}},
        "pruner": {"class_path": "sparsity.callbacks.Random", "init_args": {"density": 0.1 * seed, "rescale": rescale}},
    }


def variants(configs: list[dict[str, Any]]) -> list[str]:
    return [variant(config, differing(configs)) for config in configs]


def test_runs_that_differ_in_seed_density_and_place_are_the_same() -> None:
    assert variants([config(1), config(2), config(3)]) == ["", "", ""]


def test_what_differs_is_named_with_its_value_also_where_it_is_missing() -> None:
    assert variants([config(1), config(2, rescale="kept_fan_in"), config(1, width=200)]) == [
        "rescale=none, width=none",
        "rescale=kept_fan_in, width=none",
        "rescale=none, width=200",
    ]


def test_of_another_class_only_the_name_is_told() -> None:
    found = variants([config(network="FC", width=100), config(network="ResNet", depth=20)])
    assert found == ["network=FC", "network=ResNet"]


def test_long_values_are_cut() -> None:
    first, second = variants([config(layers=["fc1"] * 40), config(layers=[])])
    assert first.endswith("…")
    assert len(first) < 40
    assert second == "layers=[]"
