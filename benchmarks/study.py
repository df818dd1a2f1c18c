"""Throughput of a study of FC runs side by side, as a ratio to one run after the other with all cores each."""

import tempfile
import time
from pathlib import Path

import yaml

from sparsity.cli.fit_configs import FitConfigs
from sparsity.forks import cores
from sparsity.study.launch import study

RUNS = 4


def main() -> None:
    jobs = cores()
    complete = FitConfigs().complete
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speed.yaml"
        settings = {"data": "MNIST", "model.network": "FC", "trainer.max_epochs": 4, "trainer.accelerator": "cpu"}
        axes = [{"pruner": ["Random"]}, {"pruner.density": [0.1]}, {"seed_everything": list(range(RUNS))}]
        file.write_text(yaml.safe_dump({"set": settings, "axes": axes}))
        seconds = {}
        for name, at_once in (("one after the other", 1), (f"{jobs} side by side", jobs)):
            start = time.perf_counter()
            study(complete, str(file), str(Path(folder) / name), jobs=at_once)
            seconds[name] = time.perf_counter() - start
    for name, taken in seconds.items():
        print(f"{name}: {taken:.1f} s for {RUNS} runs")
    alone, together = seconds.values()
    print(f"throughput side by side: {alone / together:.2f} times")


if __name__ == "__main__":
    main()
