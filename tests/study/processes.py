"""Studies in processes of their own, and waiting for what they do."""

import sys
import time
from pathlib import Path
from typing import Any


def command(file: Path, folder: Path, *arguments: str) -> list[str]:
    """Runs a study by itself."""
    return [sys.executable, "-m", "sparsity", "study", "--config", str(file), "--output", str(folder), *arguments]


def wait_until(condition: Any, seconds: float = 120) -> Any:
    """What the condition gives once that is something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found
