"""What stands in a report besides its figures."""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from sparsity.analysis.comparison.measures import distance_measures
from sparsity.analysis.comparison.results import Comparison
from sparsity.errors import SparsityError
from sparsity.formatting import listed, percent
from sparsity.report.grouping import differing
from sparsity.report.networks import MOST_COMPARED, Repeats, Setting, method_order, setting_labels
from sparsity.report.page import Choices, at, code, details, items, paragraph, table
from sparsity.report.sources import LeftOut
from sparsity.report.tables import asked_and_reached, differences_table, real_size_table, results_table, runs_table
from sparsity.runs.curves import read_curves
from sparsity.runs.folder import RunFolder

_BESIDE_THE_METHOD = ("trainer.max_", "data.", "model.")
"""Settings that are no method's own, and change the accuracy of all of them."""


def lead(settings: Mapping[Setting, Repeats]) -> str:
    """What the report is of, in a sentence."""
    methods = method_order(settings)
    architectures = dict.fromkeys(setting.architecture for setting in settings)
    networks = sum(len(runs) for repeats in settings.values() for runs in repeats.values())
    densities = dict.fromkeys(percent(setting.density) for setting in settings)
    return (
        f"Trained networks: {networks} ({'; '.join(architectures)}). Methods: {', '.join(methods)}. "
        f"Densities: {', '.join(densities)}."
    )


def choices(settings: Mapping[Setting, Repeats]) -> Choices:
    """What a reader can choose of it: methods, densities, layers."""
    runs = [run for repeats in settings.values() for same in repeats.values() for run in same]
    layers = dict.fromkeys(layer for run in runs for layer in run.topology.densities.layers)
    densities = dict.fromkeys(setting.density for setting in settings)
    return Choices(method_order(settings), list(densities), list(layers))


def results(settings: Mapping[Setting, Repeats]) -> list[str]:
    """Results by method, what was asked and what was reached, and every network."""
    return [
        table(results_table(settings)),
        paragraph(asked_and_reached(settings)),
        paragraph(
            "Density is the kept share of the weights of all linear and convolutional layers. On a path are those "
            "that lie on a path of kept weights from input to output; FLOPs are multiply-adds of one sample, as a "
            "share of the dense network's."
        ),
        *map(paragraph, notes(settings)),
        details("Every network", table(runs_table(settings))),
    ]


def real_sizes(settings: Mapping[Setting, Repeats]) -> list[str]:
    """What compact networks cost, before the figures of it; nothing where that is not known."""
    found = real_size_table({setting: repeats for setting, repeats in settings.items() if setting.density < 1})
    return [table(found)] if found.rows else []


def differences(settings: Mapping[Setting, Repeats], comparisons: Mapping[Setting, Comparison]) -> list[str]:
    """How methods differ from each other, and runs of one method."""
    labels = setting_labels(settings)
    tables = [
        at(setting.density, table(differences_table(found, settings[setting], labels[setting])))
        for setting, found in comparisons.items()
    ]
    *others, last = [measure.heading for measure in distance_measures().values()]
    words = (
        "Mean ± standard deviation over the pairs of networks within a method, and of two methods. "
        f"{', '.join(others)} and {last} are 0 for equal networks and at most 1; IoU is the shared part of two masks, "
        "beside what chance gives."
    )
    if any(len(found.names) < sum(map(len, settings[key].values())) for key, found in comparisons.items()):
        words += f" Of more than {MOST_COMPARED} networks at one density, each method's first is compared."
    return [paragraph(words), *tables] if tables else []


def notes(settings: Mapping[Setting, Repeats]) -> list[str]:
    """What a reader has to know of single networks, and of what is compared, a sentence each."""
    runs = [run for repeats in settings.values() for same in repeats.values() for run in same]
    told = [run.source.note for run in runs if run.source.note]
    for architecture in dict.fromkeys(setting.architecture for setting in settings):
        configs = [run.source.config for run in runs if run.setting.architecture == architecture and run.source.config]
        if keys := [key for key in differing(configs) if key.startswith(_BESIDE_THE_METHOD)]:
            told.append(f"the runs of {architecture}, differ in {listed(keys)}, and are compared all the same")
    return told


def reasons(folders: Sequence[Path], left_out: Sequence[LeftOut]) -> list[str]:
    """What the report is not of, and why, a sentence each."""
    texts = [f"{folder}{_progress(folder)}, and {_why_unfinished(folder)}" for folder in folders]
    # Most reasons name the place already.
    return texts + [reason if str(path) in reason else f"{path}: {reason}" for path, reason in left_out]


def not_reported(texts: Sequence[str]) -> list[str]:
    """Runs that the report is not of; nothing if there are none."""
    return [paragraph("These are left out:"), items(texts)] if texts else []


def repeat(settings: Mapping[Setting, Repeats], command: str) -> list[str]:
    """How to make this page and its runs again."""
    labels = setting_labels(settings)
    runs, files = [], []
    for setting, repeats in settings.items():
        for method, same in repeats.items():
            files += [run.source.checkpoint for run in same if not run.source.sessions]
            if configs := [RunFolder(run.source.sessions[0]).config_file for run in same if run.source.sessions]:
                commands = "\n".join(shell("fit", "--config", str(config)) for config in configs)
                runs.append(
                    details(
                        f"{method}, {labels[setting]}", code(commands), code(configs[0].read_text(encoding="utf-8"))
                    )
                )
    blocks = [paragraph("This page:"), code(command)]
    if runs:
        blocks += [paragraph("Every run again, beside its own folder, and the config of each method's first:"), *runs]
    if files:
        hashes = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}" for path in files]
        blocks += [paragraph("The checkpoint files, by their SHA-256:"), code("\n".join(hashes))]
    return blocks


def shell(*words: str) -> str:
    """A command line of this program."""
    return shlex.join(["python", "-m", "sparsity", *words])


def _why_unfinished(folder: Path) -> str:
    ended_early = RunFolder(folder).ended_early
    return "it has not ended: no summary.json" if ended_early is None else f"it was ended early: {ended_early}"


def _progress(folder: Path) -> str:
    """How far an unfinished run came."""
    try:
        curves = read_curves([folder])
    except SparsityError as error:
        return f": {error}"
    epochs = max((max(curve) for curve in curves.values()), default=0)
    return f": {epochs} epoch{'s' * (epochs > 1)} trained" if epochs else ": no epoch finished"
