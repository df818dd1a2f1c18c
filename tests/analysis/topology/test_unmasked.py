"""What no mask covers: counted, named, and said."""

import pytest
from torch import nn

from sparsity.analysis.topology.unmasked import ALL_MASKED, Unmasked, in_words, unmasked
from sparsity.masks import add_masks, matrix_weights, tied_weights, unmasked_weights
from sparsity.networks import FC
from tests.networks_of_strangers import NETWORKS


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("chain", {}),
        ("bare", {}),
        ("shared layer", {}),
        ("shared norm", {}),
        ("tokens", {"embedding.weight": 7 * 5}),
        ("tied head", {}),  # the head's mask covers the embedding
        ("attention", {}),
        ("transformer", {}),
        ("recurrent", {}),
        ("convolution 1d", {}),
        ("own matrix", {"matrix": 36}),
        ("positions added", {"positions": 4 * 6}),
    ],
)
def test_weights_that_no_mask_covers_are_counted_by_name(kind: str, expected: dict[str, int]) -> None:
    network = NETWORKS[kind]()
    add_masks(network)
    assert unmasked_weights(network) == expected
    assert dict(unmasked(network).weights) == expected


def test_without_masks_every_weight_is_uncovered_and_none_that_is_analysed() -> None:
    network = NETWORKS["tokens"]()
    assert unmasked_weights(network) == {"layers.0.weight": 25, "embedding.weight": 35, "head.weight": 35}
    assert dict(unmasked(network).weights) == {"embedding.weight": 35}
    assert unmasked_weights(network).keys() == matrix_weights(network).keys()


def test_layers_kept_dense_count_even_if_they_are_one_row_or_one_column() -> None:
    network = nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 4), nn.Linear(4, 2), nn.LayerNorm(2), nn.LazyLinear(3))
    add_masks(network[2:3])
    assert unmasked_weights(network) == {"0.weight": 3, "1.weight": 4}
    found = unmasked(network)
    assert found.density_of_all(kept=2, masked=8) == (2 + 7) / 15


def test_the_same_tensor_in_several_places_is_named_after_its_masked_layer() -> None:
    head = NETWORKS["tied head"]()
    assert tied_weights(head) == {"embedding.weight": ["head.weight"]}
    add_masks(head)
    assert tied_weights(head) == {"head.weight": ["embedding.weight"]}
    assert tied_weights(NETWORKS["tied linears"]()) == {"layers.0.weight": ["layers.2.weight"]}
    for kind in ("chain", "shared layer", "shared norm"):  # one place, whatever it is called
        assert tied_weights(NETWORKS[kind]()) == {}


def test_a_clause_says_what_is_dense_and_is_cut_where_it_gets_long() -> None:
    assert in_words(3, 10, ALL_MASKED) == ""
    few = Unmasked({"a.weight": 5, "lstm.weight_ih_l0": 1500}, tied={"head.weight": ["embedding.weight"]})
    assert in_words(3, 10, few) == (
        "masked 10 of 1,515 matrix weights, density of all 0.99538; dense: lstm.weight_ih_l0 (1,500), a.weight (5); "
        "tied: head.weight (also embedding.weight)"
    )
    assert in_words(0, 10, Unmasked({f"w{n}": 10 - n for n in range(10)})).endswith(
        "dense: w0 (10), w1 (9), w2 (8), w3 (7) and 6 others"
    )
    assert in_words(0, 10, Unmasked({f"w{n}": 5 - n for n in range(5)})).endswith("w4 (1)")


def test_half_of_a_networks_layers_may_be_masked() -> None:
    network = FC((6,), 3, depth=3, width=4)
    add_masks(network, exclude=["fc1"])
    assert dict(unmasked(network).weights) == {"fc1.weight": 24}
    assert unmasked_weights(network) == {"fc1.weight": 24}
