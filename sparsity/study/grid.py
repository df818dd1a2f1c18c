"""From a study's file to its runs: axes crossed or zipped over base configs. Nothing is run here."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sparsity.errors import SparsityError
from sparsity.runs.yaml_files import load_yaml

_KEYS = {"config", "set", "axes", "exclude"}


@dataclass(frozen=True)
class Point:
    """One combination of a study's axes.

    Args:
        axes: The value on each axis as it is written in tables and names, by its dotted key.
        configs: Base configs, later ones over earlier ones.
        settings: What is set on top of them, by dotted key: what the study fixes, and the axes.
    """

    axes: Mapping[str, str]
    configs: tuple[Path, ...]
    settings: Mapping[str, Any]

    @property
    def arguments(self) -> list[str]:
        """Of `sparsity fit`, base configs first, and `pruner` before `pruner.density`."""
        files = [word for path in self.configs for word in ("--config", str(path))]
        keys = sorted(self.settings, key=lambda key: key.count("."))
        return files + [word for key in keys for word in (f"--{key}", _as_argument(self.settings[key]))]

    @property
    def label(self) -> str:
        """The values on the axes, for people and file names: `SynFlow-0.1-21`."""
        return "-".join(self.axes.values()) or "run"


def read_grid(path: Path) -> list[Point]:
    """Read a study's file and lay out its runs.

    A study is a YAML file with `config` (a base config or several, relative to the study's file), `set` (values by
    dotted key), `axes` (a list; its entries are crossed, and several keys in one entry are zipped) and `exclude` (a
    list of combinations to leave out, each by some of the axes' values). The axis `config` gives other base configs, or
    more of them. A run without a pruner has no use for `pruner.*`, so that dense runs are not repeated over densities.

    Args:
        path: The file.

    Returns:
        The runs, the last axis varying fastest.

    Raises:
        SparsityError: If the file is not there or not a study; the message says what is wrong.
    """
    study = _read(path)
    base = _files(path, study.get("config") or [])
    axes = [_entry(path, entry) for entry in study.get("axes") or []]
    keys = [key for entry in axes for key in entry[0]]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise SparsityError(f"{path} has the axis {min(twice)!r} twice; name it once")
    excluded = study.get("exclude") or []
    for rule in excluded:
        if not isinstance(rule, dict) or not rule or not rule.keys() <= set(keys):
            raise SparsityError(f"{path} excludes {rule!r}, which is no combination of values of its axes {keys}")
    texts = {key: _texts([values[key] for values in entry]) for entry in axes for key in entry[0]}
    points: dict[str, Point] = {}
    for combination in itertools.product(*axes):
        values = {key: value for entry in combination for key, value in entry.items()}
        if any(all(values[key] == value for key, value in rule.items()) for rule in excluded):
            continue
        point = _point(path, base, study.get("set") or {}, values, texts)
        points.setdefault(json.dumps(point.arguments), point)
    if not points:
        raise SparsityError(f"{path} excludes all of its runs; leave some")
    return list(points.values())


def _texts(values: Sequence[object]) -> dict[str, str]:
    """How the values on an axis are written, by their arguments: in full where short ones would be the same."""
    short = {_as_argument(value): _short(value) for value in values}
    counts = Counter(short.values())
    return {full: text if counts[text] == 1 else full for full, text in short.items()}


def _short(value: object) -> str:
    """Of a path or class, the last part of its name."""
    if isinstance(value, Mapping):
        return _short(value.get("class_path", _as_argument(value)))
    if isinstance(value, list | tuple):
        return "+".join(map(_short, value))
    text = "none" if value is None else str(value)
    if text.endswith((".yaml", ".ckpt")):
        return Path(text).stem
    return text.rsplit(".", 1)[-1] if re.fullmatch(r"([A-Za-z_]\w*\.)+[A-Za-z_]\w*", text) else text


def _read(path: Path) -> dict[str, Any]:
    try:
        study = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SparsityError(f"cannot read the study {path}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise SparsityError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(study, dict) or not study.keys() <= _KEYS:
        unknown = sorted(map(str, study.keys() - _KEYS)) if isinstance(study, dict) else ["something else"]
        raise SparsityError(f"{path} is not a study: it has {unknown[0]!r}; a study has config, set, axes and exclude")
    for key, kind in (("set", dict), ("axes", list), ("exclude", list)):
        if not isinstance(study.get(key) or kind(), kind):
            raise SparsityError(f"{key!r} of {path} must be a {'mapping' if kind is dict else 'list'}")
    _require_dotted_keys(path, study.get("set") or {})
    return study


def _require_dotted_keys(path: Path, settings: Mapping[object, object]) -> None:
    if wrong := [key for key in settings if not isinstance(key, str)]:
        raise SparsityError(f"{path} sets {wrong[0]!r}, which is no dotted key of a config like trainer.max_epochs")


def _entry(path: Path, entry: object) -> list[dict[str, Any]]:
    """The values of one entry of `axes`, zipped."""
    if not isinstance(entry, dict) or not entry or not all(isinstance(v, list) and v for v in entry.values()):
        raise SparsityError(f"every entry of axes in {path} gives lists of values by dotted key; {entry!r} does not")
    _require_dotted_keys(path, entry)
    lengths = {key: len(values) for key, values in entry.items()}
    if len(set(lengths.values())) > 1:
        raise SparsityError(f"axes of {path} that are zipped must have as many values each, not {lengths}")
    return [dict(zip(entry, values, strict=True)) for values in zip(*entry.values(), strict=True)]


def _point(
    path: Path,
    base: tuple[Path, ...],
    fixed: Mapping[str, Any],
    values: Mapping[str, Any],
    texts: Mapping[str, Mapping[str, str]],
) -> Point:
    settings = {**fixed, **{key: value for key, value in values.items() if key != "config"}}
    axes = {key: texts[key][_as_argument(value)] for key, value in values.items()}
    if settings.get("pruner", "") is None:
        settings = {key: value for key, value in settings.items() if not key.startswith("pruner.")}
        axes = {key: "none" if key.startswith("pruner.") else text for key, text in axes.items()}
    more = _files(path, values["config"]) if "config" in values else ()
    return Point(axes, (*base, *more), settings)


def _files(path: Path, configs: object) -> tuple[Path, ...]:
    names: list[Any] = configs if isinstance(configs, list) else [configs]
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise SparsityError(f"config in {path} is a file's name or a list of some, and not {wrong[0]!r}")
    found = tuple(path.parent / name for name in names)
    for config in found:
        if not config.is_file():
            raise SparsityError(f"{path} names the base config {config}, which does not exist")
    return found


def _as_argument(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
