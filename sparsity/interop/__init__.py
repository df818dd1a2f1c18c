"""Readers for checkpoints that other programs wrote, and a writer for our own; nothing here needs a Trainer."""

from sparsity.checkpoints.layouts import Kind, MaskChoice, detect_kind
from sparsity.checkpoints.loading import load_masks, load_network
from sparsity.checkpoints.writing import save_checkpoint

__all__ = ["Kind", "MaskChoice", "detect_kind", "load_masks", "load_network", "save_checkpoint"]
