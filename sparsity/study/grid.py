"""From a study's file to its runs: axes crossed, zipped or drawn from, over base configs. Nothing is run here."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from sparsity.errors import SparsityError, require_whole_number
from sparsity.runs.yaml_files import load_yaml, reason_of
from sparsity.study.distributions import Distribution, read_distribution

_KEYS = {"config", "set", "axes", "exclude", "trials"}


@dataclass(frozen=True)
class Point:
    """One combination of a study's axes.

    Args:
        axes: The value on each axis as it is written in tables and names, by its dotted key.
        configs: Base configs, later ones over earlier ones.
        settings: What is set on top of them, by dotted key: what the study fixes, and the axes.
        drawn: Axes whose values are drawn anew for every run, by dotted key; with some, this is a search.
        trials: How many runs there are of it; 1 unless something is drawn.
    """

    axes: Mapping[str, str]
    configs: tuple[Path, ...]
    settings: Mapping[str, Any]
    drawn: Mapping[str, Distribution] = field(default_factory=dict)
    trials: int = 1

    @property
    def arguments(self) -> list[str]:
        """Of `sparsity fit`, base configs first, and `pruner` before `pruner.density`."""
        files = [word for path in self.configs for word in ("--config", str(path))]
        keys = sorted(self.settings, key=lambda key: key.count("."))
        return files + [word for key in keys for word in (f"--{key}", _as_argument(self.settings[key]))]

    @property
    def label(self) -> str:
        """The values on the axes, for people and file names: `SynFlow-0.1-21`."""
        return "-".join(text for key, text in self.axes.items() if key not in self.drawn) or "run"

    def at(self, values: Mapping[str, Any]) -> "Point":
        """The point of a search at which everything has a value.

        Args:
            values: Of all that is drawn, by dotted key.
        """
        return replace(
            self,
            axes={**self.axes, **{key: _short(value) for key, value in values.items()}},
            settings={**self.settings, **values},
            drawn={},
            trials=1,
        )

    @property
    def probes(self) -> list["Point"]:
        """Points between which all that can be drawn lie; of a run, itself."""
        values = {key: distribution.probes for key, distribution in self.drawn.items()}
        count = max(map(len, values.values()), default=1)
        return [self.at({key: some[k % len(some)] for key, some in values.items()}) for k in range(count)]


def read_grid(path: Path) -> list[Point]:
    """Read a study's file and lay out its runs.

    A study is a YAML file with `config` (a base config or several, relative to the study's file), `set` (values by
    dotted key), `axes` (a list; its entries are crossed, and several keys in one entry are zipped) and `exclude` (a
    list of combinations to leave out, each by some of the axes' values). The axis `config` gives other base configs, or
    more of them. A run without a pruner has no use for `pruner.*`, so that dense runs are not repeated over densities.
    In place of a list an axis can have a distribution, see `read_distribution`; then each combination of the lists is
    a search of as many runs as `trials` says.

    Args:
        path: The file.

    Returns:
        The runs or searches, the last axis varying fastest.

    Raises:
        SparsityError: If the file is not there or not a study; the message says what is wrong.
    """
    study = _read(path)
    base = _files(path, study.get("config") or [])
    entries = [_entry(path, entry) for entry in study.get("axes") or []]
    axes = [values for values, _ in entries]
    drawn = {key: distribution for _, found in entries for key, distribution in found.items()}
    trials = _trials(path, study, drawn)
    keys = [key for values, found in entries for key in (*values[0], *found)]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise SparsityError(f"{path} has the axis {min(twice)!r} twice; name it once")
    excluded = study.get("exclude") or []
    for rule in excluded:
        if isinstance(rule, dict) and (wrong := rule.keys() & drawn.keys()):
            raise SparsityError(f"{path} excludes values of {min(wrong)}, which are drawn; change its distribution")
        if not isinstance(rule, dict) or not rule or not rule.keys() <= set(keys):
            raise SparsityError(f"{path} excludes {rule!r}, which is no combination of values of its axes {keys}")
    texts = {key: _texts([values[key] for values in entry]) for entry in axes for key in entry[0]}
    combinations = [
        {key: value for entry in combination for key, value in entry.items()}
        for combination in itertools.product(*axes)
    ]
    for rule in excluded:
        if not any(_excludes(rule, values) for values in combinations):
            raise SparsityError(f"{path} excludes {rule!r}, which none of its runs has; correct it, or leave it out")
    points: dict[str, Point] = {}
    for values in combinations:
        if any(_excludes(rule, values) for rule in excluded):
            continue
        point = _point(path, base, study.get("set") or {}, values, texts)
        point = _searching(point, keys, drawn, trials)
        points.setdefault(json.dumps(point.arguments), point)
    if not points:
        raise SparsityError(f"{path} excludes all of its runs; leave some")
    return list(points.values())


def _excludes(rule: Mapping[str, object], values: Mapping[str, object]) -> bool:
    return all(values[key] == value for key, value in rule.items())


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
    except UnicodeDecodeError as error:
        raise SparsityError(f"{path} is not a text in UTF-8") from error
    except yaml.YAMLError as error:
        raise SparsityError(f"{path} is not valid YAML: {reason_of(error)}") from error
    if not isinstance(study, dict) or not study.keys() <= _KEYS:
        unknown = sorted(map(repr, study.keys() - _KEYS)) if isinstance(study, dict) else ["something else"]
        what = "is empty" if study is None else f"has {unknown[0]}"
        raise SparsityError(f"{path} is not a study: it {what}; a study has config, set, axes, exclude and trials")
    for key, kind in (("set", dict), ("axes", list), ("exclude", list)):
        if not isinstance(study.get(key) or kind(), kind):
            raise SparsityError(f"{key!r} of {path} must be a {'mapping' if kind is dict else 'list'}")
    _require_dotted_keys(path, study.get("set") or {})
    return study


def _require_dotted_keys(path: Path, settings: Mapping[object, object]) -> None:
    if wrong := [key for key in settings if not isinstance(key, str)]:
        raise SparsityError(f"{path} sets {wrong[0]!r}, which is no dotted key of a config like trainer.max_epochs")


def _trials(path: Path, study: Mapping[str, Any], drawn: Mapping[str, Distribution]) -> int:
    """How many runs a search has; 1 where nothing is drawn."""
    trials: Any = study.get("trials")
    if drawn and trials is None:
        raise SparsityError(f"{path} draws {min(drawn)} and does not say how often; add trials, such as trials: 20")
    if not drawn and "trials" in study:
        raise SparsityError(f"{path} has trials, and no axis with a distribution to draw from; leave trials out")
    if drawn:
        require_whole_number(f"trials of {path}", trials, at_least=1)
    return trials or 1


def _searching(point: Point, keys: Sequence[str], drawn: Mapping[str, Distribution], trials: int) -> Point:
    """A point of the listed axes with what is drawn besides, its axes in the study's order."""
    is_dense = point.settings.get("pruner", "") is None
    own = {key: found for key, found in drawn.items() if not (is_dense and key.startswith("pruner."))}
    texts = {**point.axes, **{key: str(own[key]) if key in own else "none" for key in drawn}}
    return replace(point, axes={key: texts[key] for key in keys}, drawn=own, trials=trials if own else 1)


def _entry(path: Path, entry: object) -> tuple[list[dict[str, Any]], dict[str, Distribution]]:
    """Of one entry of `axes` the values, zipped, and the distribution of one that is drawn."""
    if isinstance(entry, dict) and any(isinstance(value, dict) for value in entry.values()):
        _require_dotted_keys(path, entry)
        if len(entry) > 1:
            raise SparsityError(
                f"{path} has a distribution beside other keys in the entry {entry!r}, where they are zipped; give it "
                "an entry of its own"
            )
        ((key, value),) = entry.items()
        return [{}], {key: read_distribution(str(path), key, value)}
    if not isinstance(entry, dict) or not entry or not all(isinstance(v, list) and v for v in entry.values()):
        raise SparsityError(
            f"every entry of axes in {path} gives lists of values, or a distribution, by dotted key; {entry!r} does not"
        )
    _require_dotted_keys(path, entry)
    lengths = {key: len(values) for key, values in entry.items()}
    if len(set(lengths.values())) > 1:
        raise SparsityError(f"axes of {path} that are zipped must have as many values each, not {lengths}")
    return [dict(zip(entry, values, strict=True)) for values in zip(*entry.values(), strict=True)], {}


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
