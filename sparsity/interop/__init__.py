"""Readers for checkpoints that other programs wrote, and a writer for our own; nothing here needs a Trainer."""

from sparsity.interop.files import save_checkpoint
from sparsity.interop.layouts import Kind, MaskChoice, detect_kind
from sparsity.interop.loading import load_masks, load_network

__all__ = ["Kind", "MaskChoice", "detect_kind", "load_masks", "load_network", "save_checkpoint"]
