import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from sparsity.callbacks import Magnitude, MaskFrom, PruneBeforeTraining, Random, SynFlow
from sparsity.errors import SparsityError
from sparsity.masks import kept, masked, masks, sizes
from tests.analysis.comparison.test_alignment import relabelled

PRUNERS = {"random": Random(0.2), "magnitude": Magnitude(0.2), "synflow": SynFlow(0.2, iterations=5)}


@pytest.fixture(params=PRUNERS)
def pruner(request: pytest.FixtureRequest) -> PruneBeforeTraining:
    return copy.deepcopy(PRUNERS[request.param])


def test_the_density_is_exact_and_the_mask_stays_as_it_was_at_the_start(
    pruner: PruneBeforeTraining, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    class MaskAtStart(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
            self.masks = {n: m.clone() for n, m in masks(pl_module).items()}

    module, start = make_module(), MaskAtStart()
    assert not pruner.is_final
    make_trainer(start, pruner).fit(module, loader)
    assert pruner.is_final
    assert sum(kept(module).values()) == round(0.2 * sum(sizes(module).values()))
    assert all(torch.equal(m, start.masks[n]) for n, m in masks(module).items())


def test_the_same_seed_gives_the_same_mask(
    pruner: PruneBeforeTraining, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    first, second = make_module(), make_module()
    second.load_state_dict(first.state_dict())
    again = copy.deepcopy(pruner)
    make_trainer(pruner).fit(first, loader)
    torch.rand(5)
    make_trainer(again).fit(second, loader)
    assert all(torch.equal(a, b) for a, b in zip(masks(first).values(), masks(second).values(), strict=True))


def test_a_second_fit_does_not_prune_again(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    module, pruner = make_module(), SynFlow(0.2, iterations=3)
    make_trainer(pruner).fit(module, loader)
    before = {n: m.clone() for n, m in masks(module).items()}
    make_trainer(pruner).fit(module, loader)
    assert all(torch.equal(m, before[n]) for n, m in masks(module).items())


def test_the_seed_of_random_is_an_argument(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    found = []
    for seed in (1, 1, 2):
        module = make_module()
        make_trainer(Random(0.2, seed=seed), max_epochs=1).fit(module, loader)
        found.append(torch.cat([m.flatten() for m in masks(module).values()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("pruner", [Random, Magnitude])
def test_rescaling_leaves_each_unit_the_norm_that_it_had(
    pruner: Any, make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module(lambda p: torch.optim.SGD(p, lr=0.0))
    before = module.head.weight.detach().clone()
    make_trainer(pruner(0.3, rescale="kept_fan_in"), max_epochs=1).fit(module, loader)
    mask, after = module.head.weight_mask, module.head.weight.detach()
    assert torch.allclose(after.norm(dim=1), before.norm(dim=1))
    for unit in range(3):
        factors = after[unit][mask[unit]] / before[unit][mask[unit]]
        assert torch.allclose(factors, factors[:1])
    assert not after[~mask].any()


def test_a_layer_that_loses_all_weights_is_reported_by_name(
    make_module: Any, make_trainer: Any, loader: DataLoader[Any]
) -> None:
    module = make_module()
    with torch.no_grad():
        module.head.weight.mul_(1e-6)
    with pytest.warns(UserWarning, match="Magnitude left no weight in head"):
        make_trainer(Magnitude(0.1), max_epochs=1).fit(module, loader)


def test_min_kept_saves_that_layer(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    module = make_module()
    with torch.no_grad():
        module.head.weight.mul_(1e-6)
    make_trainer(Magnitude(0.1, min_kept=2), max_epochs=1).fit(module, loader)
    assert kept(module)["head"] == 2
    assert sum(kept(module).values()) == 37


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"iterations": 0}, "iterations must be a whole number of at least 1"),
     ({"min_kept": -1}, "min_kept must be a whole number of at least 0")],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        SynFlow(0.1, **arguments)  # type: ignore[arg-type]


def test_a_pruner_of_ones_own_is_one_method(make_module: Any, make_trainer: Any, loader: DataLoader[Any]) -> None:
    class KeepSmallest(PruneBeforeTraining):
        def saliency(self, trainer: Any, pl_module: Any) -> Any:
            return lambda network: {n: -m.weight.detach().abs() for n, m in masked(network).items()}

    module = make_module()
    before = module.head.weight.detach().clone()
    make_trainer(KeepSmallest(0.5, scope="layer"), max_epochs=1).fit(module, loader)
    mask = module.head.weight_mask
    assert before[mask].abs().max() <= before[~mask].abs().min()


@pytest.mark.parametrize("align_by", ["weights", "activations"])
def test_a_ticket_in_another_order_is_put_in_the_order_of_a_network_trained_from_here(
    align_by: Any, make_module: Any, make_trainer: Any, loader: Any, tmp_path: Path
) -> None:
    trained = make_module()
    make_trainer(Magnitude(0.4), max_epochs=2).fit(trained, loader)
    ticket = relabelled(trained, (1, 4, 4), seed=1)
    assert any(not torch.equal(mask, masks(trained)[name]) for name, mask in masks(ticket).items())
    for name, network in (("trained", trained), ("ticket", ticket)):
        torch.save(network.state_dict(), tmp_path / f"{name}.pt")
    files = [str(tmp_path / f"{name}.pt") for name in ("ticket", "trained")]
    module = make_module()
    make_trainer(MaskFrom(files[0], align=files[1], align_by=align_by), max_epochs=1).fit(module, loader)
    assert all(torch.equal(mask, masks(trained)[name]) for name, mask in masks(module).items())


def test_a_network_to_align_with_that_does_not_fit_is_one_sentence(
    make_module: Any, make_trainer: Any, loader: Any, tmp_path: Path
) -> None:
    module = make_module()
    make_trainer(Magnitude(0.4), max_epochs=1).fit(module, loader)
    torch.save(module.state_dict(), tmp_path / "ticket.pt")
    pruner = MaskFrom(str(tmp_path / "ticket.pt"), align=str(tmp_path / "nowhere.pt"))
    with pytest.raises(SparsityError, match=r"no file .*nowhere\.pt"):
        make_trainer(pruner).fit(make_module(), loader)
