"""What a run that goes on has to have in common with itself: its settings lie in its checkpoints, and are compared."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from typing_extensions import override

from sparsity.errors import SparsityError

_KEY = "settings"
_SECTIONS = ("data", "model", "pruner", "ablation", "seed_everything")
_FREE = ("data_dir", "num_workers", "batch_size", "compile", "channels_last", "capture", "order_seed")
"""How fast a run is, where its data lie, and in which order a child of it sees them; another size of batches is looked
at where the data are."""


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that a run has to keep.

    Args:
        config: Of a fit, as plain values.
    """
    return {name: config.get(name) for name in _SECTIONS}


class SettingsInCheckpoints(Callback):
    """Writes a run's settings into its checkpoints, so that a moved one still tells what it is of.

    Args:
        settings: From `settings_of`.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[_KEY] = self.settings


def require_same_settings(checkpoint: Mapping[str, Any], settings: Mapping[str, Any], path: str) -> None:
    """Refuse to go on with other settings than those of the run: the checkpoint's would be used, or half of each.

    Options that only one side knows are of another version, and are not compared. A checkpoint without an optimizer's
    state is no run to go on with, but weights to start from.

    Args:
        checkpoint: Of a fit; of older ones, without settings, the hyper-parameters are compared.
        settings: Of the fit that is to go on, from `settings_of`.
        path: Of the checkpoint, for messages.

    Raises:
        SparsityError: Names the first option that differs, both values, and the way out.
    """
    if not checkpoint.get("optimizer_states"):
        return
    saved = checkpoint.get(_KEY, {"model": checkpoint.get("hyper_parameters")})
    if not isinstance(saved, Mapping):
        raise SparsityError(f"{path} is damaged: its settings are {saved!r}")
    for option, there, here in _differences(saved, settings, ""):
        raise SparsityError(
            f"{path} is of a run with {option} {there}, and this one has {here}; use the same, or start a new run "
            f"from its weights with --model.weights {path}"
        )


def _differences(there: Mapping[Any, Any], here: Mapping[Any, Any], place: str) -> Iterator[tuple[str, Any, Any]]:
    for name in here:
        if name not in there or name in _FREE:
            continue
        old, new = _plain(there[name]), _plain(here[name])
        option = place if name in ("init_args", "dict_kwargs") else f"{place}.{name}".lstrip(".")
        if isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("class_path") == new.get("class_path"):
            yield from _differences(old, new, option)
        elif old != new:
            yield option, _told(old), _told(new)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _told(value: object) -> object:
    """Of an object to be made its class, by its bare name."""
    if isinstance(value, Mapping) and isinstance(path := value.get("class_path"), str):
        return path.rpartition(".")[2]
    return value
