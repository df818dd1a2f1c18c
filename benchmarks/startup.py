"""How long the command line takes to start, as ratios to importing Lightning, each in fresh processes, turn by turn.

python benchmarks/startup.py
"""

import os
import subprocess
import sys
import tempfile
import time
from statistics import median

TURNS = 5
FIT = (
    "fit --data Digits --model.network FC --pruner SynFlow --pruner.density 0.1 --trainer.max_steps 1 "
    "--trainer.limit_val_batches 0 --trainer.accelerator cpu --trainer.enable_progress_bar false"
)


def main() -> None:
    program = [sys.executable, "-m", "sparsity"]
    commands = {
        "import pytorch_lightning": [sys.executable, "-c", "import pytorch_lightning"],
        "import torch": [sys.executable, "-c", "import torch"],
        "sparsity --help": [*program, "--help"],
        "sparsity fit --help": [*program, "fit", "--help"],
        "sparsity fit, one step": [*program, *FIT.split()],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(TURNS):
        for name, command in commands.items():
            with tempfile.TemporaryDirectory() as folder:
                where = ["--trainer.default_root_dir", folder] if "one step" in name else []
                start = time.perf_counter()
                subprocess.run(
                    [*command, *where], check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
                )
                seconds[name].append(time.perf_counter() - start)
    lightning = seconds["import pytorch_lightning"]
    for name, measured in seconds.items():
        ratio = median(a / b for a, b in zip(measured, lightning, strict=True))
        print(f"{name:26} {median(measured):5.1f} s   {ratio:.2f}")


if __name__ == "__main__":
    main()
