"""What `analyze` says of predictions: how good they are, by class, of corrupted images, and what pruning changes."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from statistics import fmean

from pytorch_lightning import LightningDataModule
from torch import Tensor, nn

from sparsity.analysis.predictions.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from sparsity.analysis.predictions.exemplars import FEWEST, pruning_identified_exemplars
from sparsity.analysis.predictions.quality import class_accuracies, quality
from sparsity.analysis.records import Row
from sparsity.evaluation import accuracy, known_accuracy, known_logits, read_test_pixels
from sparsity.tracking import tracked


@dataclass(frozen=True, eq=False)
class Predictions:
    """What networks say of test images.

    Args:
        summaries: Numbers of each network that classifies, by its name.
        tables: Rows by the name of their file; none is empty.
        exemplars: The images on which pruned networks disagree with dense ones, None if there are too few of either.
    """

    summaries: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    tables: Mapping[str, list[Row]] = field(default_factory=dict)
    exemplars: Tensor | None = None


def predictions(
    networks: Mapping[str, nn.Module],
    dense: Collection[str],
    images: Tensor,
    labels: Tensor | None,
    corruptible: LightningDataModule | None = None,
) -> Predictions:
    """Measure what networks say of test images; those that do not classify them are left out with a warning.

    Args:
        networks: By name, in evaluation mode.
        dense: Which of them are not pruned.
        images: `[n, ...]`, as networks see them.
        labels: `[n]`, class indices; None if there are none, which is said in a warning.
        corruptible: The data whose test images are corrupted too; None for none.

    Raises:
        SparsityError: If networks cannot take images of this shape, or the data's cannot be corrupted.
    """
    found = {name: known_logits(network, images, labels) for name, network in networks.items()}
    if labels is None:
        return Predictions()
    logits = {name: said for name, said in found.items() if said is not None}
    summaries = {
        name: {"test_accuracy": accuracy(said, labels), **asdict(quality(said, labels))}
        for name, said in logits.items()
    }
    tables: dict[str, list[Row]] = {}
    by_class: list[Row] = [
        {"network": name, "class": label, "images": count, "accuracy": share}
        for name, said in logits.items()
        for label, (count, share) in class_accuracies(said, labels).items()
    ]
    if by_class:
        tables["class_accuracies.csv"] = by_class
    if corruptible is not None and logits:
        rows = _corrupted({name: networks[name] for name in logits}, labels, corruptible)
        tables["corruptions.csv"] = rows
        for name in logits:
            summaries[name]["corrupted_accuracy"] = fmean(
                float(row["accuracy"] or 0) for row in rows if row["network"] == name
            )
    predicted = {name: said.argmax(1) for name, said in logits.items()}
    of_dense = [said for name, said in predicted.items() if name in dense]
    of_pruned = [said for name, said in predicted.items() if name not in dense]
    if min(len(of_dense), len(of_pruned)) < FEWEST:
        return Predictions(summaries, tables)
    exemplars = pruning_identified_exemplars(of_dense, of_pruned)
    columns = exemplars.images, labels[exemplars.images], exemplars.dense, exemplars.pruned
    rows = [
        dict(zip(("image", "label", "dense", "pruned"), numbers, strict=True))
        for numbers in zip(*(column.tolist() for column in columns), strict=True)
    ]
    if rows:
        tables["exemplars.csv"] = rows
    return Predictions(summaries, tables, images[exemplars.images])


def _corrupted(networks: Mapping[str, nn.Module], labels: Tensor, data: LightningDataModule) -> list[Row]:
    pixels = read_test_pixels(data)
    rows: list[Row] = []
    kinds = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
    for name, severity in tracked(kinds, "corruptions"):
        seen, _ = data.on_after_batch_transfer((corrupted(pixels, name, severity), labels), 0)
        rows += [
            {
                "network": one,
                "corruption": name,
                "severity": severity,
                "accuracy": known_accuracy(network, seen, labels),
            }
            for one, network in networks.items()
        ]
    return rows
