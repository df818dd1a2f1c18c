"""Where the API reference reads the package: in one tree, as a wheel has it."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority

_tree = tempfile.TemporaryDirectory()


@event_priority(50)  # before the reference reads where to look
def on_config(config: Any) -> Any:
    """Copy the package with its parts that lie beside it in a checkout, and point the reference to the copy."""
    root = Path(config.config_file_path).parent
    package = Path(_tree.name) / "sparsity"
    shutil.copytree(root / "sparsity", package, dirs_exist_ok=True)
    for part in ("callbacks", "datamodules"):
        shutil.copytree(root / part, package / part, dirs_exist_ok=True)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_tree.name]
    return config
