"""Where a fit is, in words: what people see while they wait."""

from typing import NamedTuple

import pytorch_lightning as pl


class Phase(NamedTuple):
    """A part of a fit.

    Args:
        name: What is done in it, for example `search`.
        epoch: Of the part, from 1.
        epochs: Of the part; None if nobody knows.
        cuts: How many have been made in the fit, and of how many.
    """

    name: str
    epoch: int
    epochs: int | None
    cuts: tuple[int, int] | None = None

    @property
    def where(self) -> str:
        """For example `search 12/45`."""
        return f"{self.name} {self.epoch}" if self.epochs is None else f"{self.name} {self.epoch}/{self.epochs}"

    @property
    def cuts_in_words(self) -> str:
        """For example `cut 11 of 44`; empty if there are none."""
        return f"cut {self.cuts[0]} of {self.cuts[1]}" if self.cuts else ""


def epoch_of(trainer: pl.Trainer) -> Phase:
    """The phase of a fit that has but one, in the epoch that has begun."""
    epochs = trainer.max_epochs
    return Phase("epoch", trainer.current_epoch + 1, None if epochs == -1 else epochs)
