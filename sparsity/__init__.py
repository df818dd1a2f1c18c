"""Find, train and understand sparse neural networks."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# In a checkout `callbacks/` and `datamodules/` stand beside this folder; in the wheel they stand inside it.
# Searching the checkout's root as well makes `sparsity.callbacks` mean the same in both.
_root = Path(__file__).parent.parent
if (_root / "callbacks" / "pruning.py").is_file():
    __path__.append(str(_root))

try:
    __version__ = version("sparsity-lightning")
except PackageNotFoundError:  # run from a checkout that nobody installed
    __version__ = "unknown"
