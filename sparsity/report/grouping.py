"""Runs that share a method and a density but not their settings are different methods: how they are told apart."""

from collections.abc import Mapping, Sequence
from typing import Any

_SAME_METHOD = (
    "seed_everything",
    "ckpt_path",
    "weights_only",
    "test_after_fit",
    "ablation",  # in the method's name
    "pruner.init_args.density",
    "pruner.init_args.seed",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.logger",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "data.init_args.data_dir",
    "data.init_args.num_workers",
)
"""What may differ between repetitions."""

_LONGEST = 24
_NONE = "none"

Config = Mapping[str, Any]


def differing(configs: Sequence[Config]) -> list[str]:
    """The settings in which some runs of one method and density differ, apart from what repetitions may differ in.

    Args:
        configs: As their `config.yaml` has them.

    Returns:
        Dotted keys; of an object of another class only that, not its arguments.
    """
    flat = [_flat(config) for config in configs]
    keys = dict.fromkeys(key for config in flat for key in config)
    found = [key for key in keys if len({config.get(key, _NONE) for config in flat}) > 1]
    classes = [key.removesuffix("class_path") for key in found if key.endswith(".class_path")]
    return [key for key in found if not any(key.startswith(f"{name}init_args") for name in classes)]


def variant(config: Config, keys: Sequence[str]) -> str:
    """What a config has for some keys, for example `rescale=none`."""
    flat = _flat(config)
    return ", ".join(f"{_name(key)}={_short(flat.get(key, _NONE))}" for key in keys)


def _flat(config: Config, prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name.startswith(_SAME_METHOD):
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = _NONE if value is None else str(value)
    return flat


def _name(key: str) -> str:
    return key.removesuffix(".class_path").rsplit(".", 1)[-1]


def _short(value: str) -> str:
    name = value.rsplit(".", 1)[-1] if value.startswith(("sparsity.", "torch.")) else value
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
