"""Schedules and phases that contradict each other, and those that do not: then the density is exact."""

from collections.abc import Callable
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.conftest import cases
from tests.fuzz.test_arguments import FIT, SMALL

WEIGHTS = 3136 + 40
densities = st.sampled_from([0.001, 0.01, 0.1, 0.3, 0.5, 0.99, 1.0]) | st.floats(0.0001, 1)
fractions = st.floats(-0.2, 1.2) | st.sampled_from([0.0, 0.2, 0.5, 0.75, 1.0])
small = st.integers(-1, 7)

PHASES: dict[str, dict[str, st.SearchStrategy[object]]] = {
    "SynFlow": {"iterations": small, "min_kept": st.integers(-1, 50)},
    "SNIP": {"iterations": small, "samples_per_class": small, "scope": st.sampled_from(["global", "layer"])},
    "GraSP": {"samples_per_class": small, "temperature": fractions},
    "Random": {"allocation": st.sampled_from(["erk", "uniform", "balanced", "smart_ratio", "[0.5, 0.5]"])},
    "GemMiner": {
        "search_epochs": small, "period": small, "min_kept": st.integers(-1, 50), "rounding_noise": fractions,
        "score_init": st.sampled_from(["uniform", "half", "bernoulli", "bimodal", "skew"]),
    },
    "EdgePopup": {"search_epochs": small, "period": small, "scope": st.sampled_from(["global", "layer"])},
    "IterativeMagnitude": {
        "rounds": small, "rewind": st.integers(-1, 9) | st.sampled_from(["init", "learning_rate", "finetune"]),
    },
    "GradualMagnitude": {"start": fractions, "stop": fractions, "interval": small},
    "SET": {"start": fractions, "stop": fractions, "interval": small, "drop_fraction": fractions},
    "RigL": {"start": fractions, "stop": fractions, "interval": small, "drop_fraction": fractions},
}  # fmt: skip


@st.composite
def planned(draw: st.DrawFn) -> tuple[float, list[str]]:
    """A density, and the arguments of a fit that is to reach it."""
    pruner = draw(st.sampled_from(sorted(PHASES)))
    density, epochs = draw(densities), draw(st.integers(0, 6))
    chosen = draw(st.lists(st.sampled_from(sorted(PHASES[pruner])), unique=True))
    arguments = [f"--pruner.{name}={draw(PHASES[pruner][name])}" for name in chosen]
    ablation = draw(st.sampled_from([None, None, "shuffle", "reinitialise", "invert", "random_same_ratios"]))
    arguments += [f"--ablation={ablation}"] if ablation else []
    clip = draw(st.sampled_from([[], [], ["--trainer.gradient_clip_val=1"], ["--trainer.accumulate_grad_batches=3"]]))
    start = [f"--pruner={pruner}", f"--pruner.density={density}", f"--trainer.max_epochs={epochs}"]
    # Inverted, a mask keeps what it pruned.
    return 1 - density if ablation == "invert" else density, [*start, *arguments, *clip]


@cases
@given(plan=planned())
def test_phases(plan: tuple[float, list[str]], try_it: Callable[..., None]) -> None:
    density, arguments = plan

    def has_the_density(folder: Path) -> None:
        [last] = folder.glob("lightning_logs/version_0/checkpoints/last.ckpt")
        state = torch.load(last, weights_only=True)["state_dict"]
        masks = {name.removesuffix("_mask"): tensor for name, tensor in state.items() if name.endswith("weight_mask")}
        kept = sum(int(mask.sum()) for mask in masks.values())
        assert abs(kept - density * WEIGHTS) <= 0.5, f"{kept} of {WEIGHTS} weights kept by {arguments}"
        assert not any(state[name][~mask].any() for name, mask in masks.items())

    ends = "--trainer.max_epochs=0" not in arguments
    try_it(*FIT, *SMALL, *arguments, check=has_the_density if ends else lambda folder: None)
