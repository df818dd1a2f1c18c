"""How good a classifier is over many batches."""

import torch
from torch import Tensor
from torchmetrics import Metric

from sparsity.forward.labels import NO_LABEL


class ClassificationTotals(Metric):
    """Sums of loss and correct predictions, kept on the device and added up over processes once an epoch.

    Of classes with equal logits each is as likely to be the prediction: a network that says nothing has the accuracy of
    chance, whatever the order of the classes. NaN counts against the label.
    """

    full_state_update = False
    loss: Tensor
    top1: Tensor
    top5: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("loss", "top1", "top5"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @torch.no_grad()
    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            loss: Mean over the batch.
            logits: `[batch, classes]`.
            labels: `[batch]`, class indices; samples with `NO_LABEL` do not count.
        """
        labelled = labels != NO_LABEL
        batch = labelled.sum()
        of_label = logits.gather(1, labels.clamp(min=0)[:, None])
        ahead = (~(logits <= of_label)).sum(1)
        tied = (logits == of_label).sum(1).clamp(min=1)
        self.loss += torch.where(batch > 0, loss * batch, 0.0)
        self.top1 += (((1 - ahead) / tied).clamp(0, 1) * labelled).sum()
        self.top5 += (((5 - ahead) / tied).clamp(0, 1) * labelled).sum()
        self.samples += batch

    def compute(self) -> dict[str, Tensor]:
        """Mean loss, and top-1 and top-5 accuracy in [0, 1]."""
        return {
            "loss": self.loss / self.samples,
            "accuracy": self.top1 / self.samples,
            "top5_accuracy": self.top5 / self.samples,
        }
