import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsity.analysis import activation_correlation, responses
from sparsity.analysis.activations.correlation import activation_correlations
from sparsity.analysis.activations.moments import LayerMoments
from sparsity.errors import SparsityError
from sparsity.masks import add_masks, set_mask
from sparsity.networks import FC, ResNet


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_streamed_correlations_agree_with_a_loop_over_pairs(seed, rows, batch):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(1e4, 1, (rows, 4)), rng.normal(0, 1e-3, (rows, 4))
    y[:, 1] = x[:, 0] * 3
    x[:, 3], y[:, 2] = 0.1, 0.0
    moments = LayerMoments(["x", "y"], 4)
    for start in range(0, rows, batch):
        moments.add({"x": x[start : start + batch], "y": y[start : start + batch]})
    expected = [[np.corrcoef(p, q)[0, 1] if np.ptp(p) > 0 and np.ptp(q) > 0 else 0.0 for q in y.T] for p in x.T]
    np.testing.assert_allclose(moments.correlation("x", "y"), expected, atol=1e-9)


def test_a_relabelled_network_is_matched_unit_by_unit():
    torch.manual_seed(1)
    a = FC((6,), 3, depth=3, width=5)
    b = FC((6,), 3, depth=3, width=5)
    b.load_state_dict(a.state_dict())
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        b.fc1.weight.copy_(a.fc1.weight[order])
        b.fc1.bias.copy_(a.fc1.bias[order])
        b.fc2.weight.copy_(a.fc2.weight[:, order])
    for point in ("post", "pre", "filters"):
        found = activation_correlation(a, b, torch.randn(100, 6), point)
        assert found.layers["fc1"].matching.tolist() == order.argsort().tolist()
        assert found.layers["fc1"].partner.tolist() == order.argsort().tolist()
        assert found.one_to_one == pytest.approx(1)
        assert found.semi == pytest.approx(1)


def test_batches_do_not_matter_and_convolutions_count_every_position():
    a, b = (ResNet(8, width=2, input_shape=(1, 8, 8)) for _ in range(2))
    images = torch.randn(10, 1, 8, 8)
    whole = activation_correlation(a, b, images, batch_size=10)
    pieces = activation_correlation(a, b, images, batch_size=3)
    for name, layer in whole.layers.items():
        np.testing.assert_allclose(layer.correlation, pieces.layers[name].correlation, atol=1e-5)
    x, y = (responses(net, images)["blocks.0.conv1"].transpose(0, 1).flatten(1).numpy() for net in (a, b))
    np.testing.assert_allclose(whole.layers["blocks.0.conv1"].correlation, np.corrcoef(x, y)[:2, 2:], atol=1e-5)


def test_units_without_inputs_correlate_with_nothing():
    network = FC((6,), 3, depth=2, width=4)
    add_masks(network)
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[2] = False
    set_mask(network, {"fc1": mask})
    for point in ("pre", "filters"):
        found = activation_correlation(network, network, torch.randn(50, 6), point).layers["fc1"]
        assert (found.correlation[2] == 0).all()
        assert (found.correlation[:, 2] == 0).all()
        assert found.one_to_one == pytest.approx(0.75)


def test_mistakes_are_named():
    a, b = FC((6,), 3, width=4), FC((6,), 3, width=5)
    with pytest.raises(SparsityError, match="same units per layer"):
        activation_correlation(a, b, torch.ones(2, 6))
    with pytest.raises(SparsityError, match="no images"):
        activation_correlation(a, a, torch.ones(0, 6))


class _Language(nn.Module):
    """Token ids through attention and an LSTM to a Linear, the one layer whose answers are seen."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, tokens):
        x = self.embedding(tokens)
        return self.head(self.lstm(self.attention(x, x, x, need_weights=False)[0])[0])


def test_layers_whose_answers_are_not_seen_are_left_out_and_named():
    networks = {"a": _Language(), "b": _Language()}
    tokens = torch.randint(11, (40, 6), generator=torch.Generator().manual_seed(0))
    unseen = "attention.in_proj_weight, attention.out_proj, lstm.weight_ih_l0, lstm.weight_hh_l0"
    with pytest.warns(UserWarning, match=f"activations of {unseen} are left out: they do not run as a linear map"):
        found = activation_correlations(networks, tokens)["a", "b"]
    assert list(found.layers) == ["head"]
    with torch.no_grad():
        answers = [networks[name](tokens).flatten(0, 1).double().numpy() for name in "ab"]
    expected = np.corrcoef(*(a.T for a in answers))[:5, 5:]
    np.testing.assert_allclose(found.layers["head"].correlation, expected, atol=1e-5)
    with pytest.raises(SparsityError, match=r"layer 'attention\.in_proj_weight' does not run in the forward pass of"):
        responses(networks["a"], tokens)


def test_networks_without_any_layer_whose_answers_are_seen_are_refused():
    with pytest.raises(SparsityError, match="no layer runs as a linear map or convolution of its own"):
        activation_correlations({"a": nn.LSTM(3, 4), "b": nn.LSTM(3, 4)}, torch.rand(5, 2, 3))


def test_a_unit_that_only_rounding_varies_between_batches_correlates_with_nothing():
    rows = np.random.default_rng(0).normal(size=(12, 2))
    moments = LayerMoments(["x", "y"], 2, rounding=1e-5)
    for start, rounded in ((0, 0.0029969164), (8, 0.0029969066)):  # of 0.1 and -0.097, in sums of two orders
        batch = rows[start : start + 8].copy()
        moments.add({"x": rows[start : start + 8], "y": np.column_stack([np.full(len(batch), rounded), batch[:, 1]])})
    assert moments.correlation("x", "y")[:, 0].tolist() == [0, 0]
    assert moments.correlation("x", "y")[1, 1] == pytest.approx(1)
