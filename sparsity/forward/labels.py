"""Class indices as labels: what fits a network's outputs."""

from torch import Tensor

from sparsity.errors import SparsityError

NO_LABEL = -100
"""As torch's cross-entropy has it: a sample whose loss and prediction do not count."""


def require_labels(labels: Tensor, logits: Tensor) -> None:
    """Check that labels are class indices for some logits.

    Args:
        labels: `[batch]`, whole numbers; `NO_LABEL` for none.
        logits: `[batch, classes]`.

    Raises:
        SparsityError: Says which labels there are, and how many outputs.
    """
    if logits.ndim != 2 or logits.shape[1] < 2 or len(logits) != len(labels):
        raise SparsityError(
            f"the network's output is shaped {list(logits.shape)} for {len(labels)} labels, and a classifier's is "
            "[batch, classes] with two classes or more"
        )
    given = labels[labels != NO_LABEL]
    if given.numel() and not 0 <= int(given.min()) <= int(given.max()) < logits.shape[1]:
        raise SparsityError(
            f"labels go from {int(given.min())} to {int(given.max())}, and the network has {logits.shape[1]} outputs, "
            f"for labels from 0 to {logits.shape[1] - 1}"
        )
