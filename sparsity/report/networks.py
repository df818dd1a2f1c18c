"""A report's networks, sorted: what is compared with what, and what is averaged."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from torch import nn

from sparsity.analysis.topology.network import Topology, topology
from sparsity.compaction.sizes import RealSize, real_size
from sparsity.errors import SparsityError
from sparsity.forks import in_forks
from sparsity.formatting import percent
from sparsity.graph.sample import Given
from sparsity.report.grouping import Config, differing, variant
from sparsity.report.reading import read_network
from sparsity.report.sources import LeftOut, Source, unless_left_out
from sparsity.runs.curves import Curve, read_curves
from sparsity.tracking import tracked

MOST_COMPARED = 30
"""They make 435 pairs, which take half a minute."""


class Setting(NamedTuple):
    """Networks of one setting are compared with each other.

    Args:
        architecture: Class and size of the network, and its data where there are several.
        density: The one asked for; of bare files the usual one in their family.
    """

    architecture: str
    density: float


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network.

    Args:
        name: Different from the others' of the same setting.
        method: Who chose its weights, with what tells it from other runs of that method.
        setting: Its architecture and density.
        source: Where it comes from.
        network: In evaluation mode.
        topology: What is left of it.
        accuracy: On the test images, in [0, 1]; None if unknown.
        curves: By tag.
        real_size: What it costs dense and compact; None where that is not known.
        input_shape: Of one sample; None where the network tells it.
    """

    name: str
    method: str
    setting: Setting
    source: Source
    network: nn.Module
    topology: Topology
    accuracy: float | None
    curves: Mapping[str, Curve]
    real_size: RealSize | None = None
    input_shape: Given = None


Measure = Callable[[nn.Module, int | None], float | None]
"""The test accuracy of a network on so many images, or on all; None if it is unknown."""

_FEW = 8

Repeats = Mapping[str, Sequence[TrainedNetwork]]
"""By method, runs that differ in their seeds only."""


def read_runs(
    sources: Sequence[Source],
    read: Callable[[Source], tuple[nn.Module, Given]] = read_network,
    measure: Measure | None = None,
    left_out: list[LeftOut] | None = None,
) -> list[TrainedNetwork]:
    """Read all networks, and tell their settings and methods apart.

    Args:
        sources: Where they lie.
        read: Of a source its network and what it takes, see `read_network`.
        measure: A network's test accuracy on so many images, or all if None; None if it is unknown. Also tells which
            networks do not fit the data.
        left_out: Takes those that cannot be read, as long as there is another.

    Raises:
        SparsityError: If a network cannot be read, and nobody takes it or none is left.
    """
    failed: list[LeftOut] = []
    networks = [
        (source, *found) for source in sources for found in unless_left_out(partial(read, source), source.path, failed)
    ]
    runs = []
    tasks = [partial(_measured, source, network, given, measure) for source, network, given in networks]
    coming = tracked(in_forks(tasks), "networks", len(tasks))
    for (source, network, given), measured in zip(networks, coming, strict=True):
        if isinstance(measured, LeftOut):
            failed.append(measured)
        else:
            runs.append(_trained(source, network, given, measured))
    if failed and (left_out is None or not runs):
        raise SparsityError(failed[0].reason)
    if left_out is not None:
        left_out += failed
    families: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        families[run.source.family].append(run.topology.densities.density)
    runs = [replace(run, setting=_setting(run, families[run.source.family])) for run in _apart_by_data(runs)]
    runs = _named_by_variant(runs)
    return _named_apart(runs)


def by_setting(runs: Sequence[TrainedNetwork]) -> dict[Setting, Repeats]:
    """Sort runs: settings from dense to sparse within their architecture, methods in the order of `method_order`."""
    found: dict[Setting, dict[str, list[TrainedNetwork]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        found[run.setting][run.method].append(run)
    architectures = list(dict.fromkeys(run.setting.architecture for run in runs))
    order = method_order(found)
    return {
        setting: {method: found[setting][method] for method in order if method in found[setting]}
        for setting in sorted(found, key=lambda s: (architectures.index(s.architecture), -s.density))
    }


def method_order(settings: Mapping[Setting, Repeats]) -> list[str]:
    """All methods, those in more settings first."""
    times = Counter(method for repeats in settings.values() for method in repeats)
    return sorted(times, key=lambda method: (-times[method], method))


def compared(repeats: Repeats) -> list[TrainedNetwork]:
    """The runs of a setting that are compared: all, or of more than `MOST_COMPARED` each method's first."""
    many = sum(map(len, repeats.values())) > MOST_COMPARED
    return [run for same in repeats.values() for run in (same[:1] if many else same)]


def setting_labels(settings: Iterable[Setting]) -> dict[Setting, str]:
    """Densities in words, with the architecture if there is more than one."""
    settings = list(settings)
    several = len({setting.architecture for setting in settings}) > 1
    return {
        setting: f"{percent(setting.density)} density" + (f" ({setting.architecture})" if several else "")
        for setting in settings
    }


class _Measured(NamedTuple):
    """What is computed of a network.

    Args:
        topology: What is left of it.
        accuracy: On the test images; None if nobody knows.
        real_size: What it costs; None where that is not known.
        notes: Why something is not.
    """

    topology: Topology
    accuracy: float | None
    real_size: RealSize | None
    notes: tuple[str, ...] = ()


def _measured(source: Source, network: nn.Module, given: Given, measure: Measure | None) -> _Measured | LeftOut:
    """What is computed of a network, or why it is left out."""
    try:
        found = topology(network, given)
        # One whose accuracy is known takes a few images to show that it fits them.
        accuracy = None if measure is None else measure(network, None if source.accuracy is None else _FEW)
    except SparsityError as error:
        return LeftOut(source.path, str(error))
    accuracy = accuracy if source.accuracy is None else source.accuracy
    try:
        return _Measured(found, accuracy, real_size(network, given))
    except SparsityError as error:
        return _Measured(found, accuracy, None, (f"{source.path}: {error}",))


def _trained(source: Source, network: nn.Module, given: Given, measured: _Measured) -> TrainedNetwork:
    found, notes = measured.topology, [*filter(None, [source.note]), *measured.notes]
    size = f"{type(network).__name__}, {len(found.weights)} layers, {found.densities.size:,} weights"
    curves: Mapping[str, Curve] = {}
    try:
        curves = read_curves(source.sessions)
    except SparsityError as error:
        notes.append(str(error))
    return TrainedNetwork(
        name=f"{source.method} {source.seed}".strip() if source.sessions else source.path.stem,
        method=source.method,
        setting=Setting(size, found.densities.density),
        source=replace(source, note="; ".join(notes)),
        network=network,
        topology=found,
        accuracy=measured.accuracy,
        curves=curves,
        real_size=measured.real_size,
        input_shape=given,
    )


def _apart_by_data(runs: Sequence[TrainedNetwork]) -> Sequence[TrainedNetwork]:
    """Networks that were trained on different data are no more compared than such of different architectures."""
    names = [_data(run.source.config) for run in runs]
    if len(set(names) - {""}) < 2:
        return runs
    settings = [
        run.setting._replace(architecture=f"{run.setting.architecture}, {name}") if name else run.setting
        for run, name in zip(runs, names, strict=True)
    ]
    return [replace(run, setting=setting) for run, setting in zip(runs, settings, strict=True)]


def _data(config: Config) -> str:
    """The bare name of the data that a run's config names; empty if it names none."""
    data = config.get("data")
    return str(data.get("class_path", "")).rpartition(".")[2] if isinstance(data, Mapping) else ""


def _setting(run: TrainedNetwork, family: Sequence[float]) -> Setting:
    """Three digits of what was asked; where nobody says, of what most networks of the family reached."""
    reached = [float(f"{density:.3g}") for density in family]
    return run.setting._replace(density=float(f"{run.source.asked or statistics.mode(reached):.3g}"))


def _named_by_variant(runs: Sequence[TrainedNetwork]) -> list[TrainedNetwork]:
    """Tell methods apart whose runs differ at some density, at all densities alike: a line goes through them."""
    alike: dict[tuple[Setting, str], list[Config]] = defaultdict(list)
    for run in runs:
        if run.source.config:
            alike[run.setting, run.method].append(run.source.config)
    keys: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for (setting, method), configs in alike.items():
        keys[setting.architecture, method] |= dict.fromkeys(differing(configs))
    named = []
    for run in runs:
        told = list(keys[run.setting.architecture, run.method]) if run.source.config else []
        suffix = f" ({variant(run.source.config, told)})" if told else ""
        named.append(replace(run, method=run.method + suffix, name=run.name + suffix))
    return named


def _named_apart(runs: Sequence[TrainedNetwork]) -> list[TrainedNetwork]:
    seen = Counter[tuple[Setting, str]]()
    named = []
    for run in runs:
        seen[run.setting, run.name] += 1
        number = seen[run.setting, run.name]
        named.append(run if number == 1 else replace(run, name=f"{run.name} #{number}"))
    return named
