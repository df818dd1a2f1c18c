import torch

from sparsity.seeding import derive_seed, named_generator


def test_a_named_generator_does_not_depend_on_what_was_drawn_before() -> None:
    first = torch.rand(5, generator=named_generator("masks", "fc1"))
    torch.rand(100)
    assert torch.equal(first, torch.rand(5, generator=named_generator("masks", "fc1")))


def test_names_and_seeds_give_different_generators() -> None:
    seeds = {derive_seed("a"), derive_seed("b"), derive_seed("a", "b"), derive_seed("ab"), derive_seed("a", seed=7)}
    assert len(seeds) == 5


def test_the_run_seed_is_the_default() -> None:
    torch.manual_seed(7)
    assert derive_seed("a") == derive_seed("a", seed=7)


def test_a_seed_is_pinned_across_versions() -> None:
    assert derive_seed("scores", "fc1", seed=42) == 4839074722093859588
