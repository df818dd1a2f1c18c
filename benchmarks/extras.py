"""What channels_last, torch.compile and bf16-mixed do to the speed of a fit, as ratios to a fit without them.

    python benchmarks/extras.py --task resnet --threads 1
    python benchmarks/extras.py --task fc --threads 1

All sides take turns in one process; the epoch in which compiled code is made does not count, and is printed.
"""

import argparse
from statistics import median

import torch
from training import TASKS, EpochTimer, fits

SIDES = {
    "none": ["--model.channels_last", "false"],
    "channels_last": ["--model.channels_last", "true"],
    "compile": ["--model.channels_last", "false", "--model.compile", "true"],
    "channels_last and compile": ["--model.channels_last", "true", "--model.compile", "true"],
    "bf16-mixed": ["--model.channels_last", "true", "--trainer.precision", "bf16-mixed"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, default="resnet")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    runs = {name: fits(options.task, arguments) for name, arguments in SIDES.items()}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    first_epochs = {}
    for turn in range(options.turns):
        for name, run in runs.items():
            rates[name].append(next(run))
            if turn == 0:
                first_epochs[name] = EpochTimer.seconds[0]
    for name, measured in rates.items():
        ratio = median(ours / plain for ours, plain in zip(measured, rates["none"], strict=True))
        print(f"{name:26} {median(measured):9,.0f} images/s   {ratio:.2f}   first epoch {first_epochs[name]:.1f} s")


if __name__ == "__main__":
    main()
