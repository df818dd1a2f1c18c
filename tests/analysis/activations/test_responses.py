import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparsity.analysis import responses
from sparsity.errors import SparsityError
from sparsity.networks import FC, ResNet


@pytest.fixture
def resnet():
    network = ResNet(8, width=2, input_shape=(1, 8, 8))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.weight.uniform_(-1, 1)
                module.bias.normal_()
    return network


def test_fully_connected_layers_answer_before_and_after_their_relu():
    network = FC((4,), 3, depth=3, width=5)
    x = torch.randn(7, 4)
    with torch.no_grad():
        pre1 = network.fc1(x)
        pre2 = network.fc2(pre1.relu())
        out = network.fc3(pre2.relu())
    pre, post = responses(network, x, "pre"), responses(network, x, "post")
    assert torch.equal(pre["fc1"], pre1)
    assert torch.equal(post["fc1"], pre1.relu())
    assert torch.equal(pre["fc2"], pre2)
    assert torch.equal(post["fc2"], pre2.relu())
    assert torch.equal(pre["fc3"], out)
    assert torch.equal(post["fc3"], out)


def test_filters_leave_out_biases_normalisation_and_nonlinearities(resnet):
    network = FC((4,), 3, depth=3, width=5)
    x = torch.randn(7, 4)
    found = responses(network, x, "filters")
    chain = x @ network.fc1.weight.T @ network.fc2.weight.T @ network.fc3.weight.T
    assert torch.allclose(found["fc3"], chain, atol=1e-6)
    images = torch.randn(3, 1, 8, 8)
    found = responses(resnet, images, "filters")
    with torch.no_grad():
        stem = resnet.conv(images)
        inner = resnet.blocks[0].conv1(stem)
    assert torch.equal(found["conv"], stem)
    assert torch.equal(found["blocks.0.conv1"], inner)
    assert torch.equal(found["blocks.1.conv1"], resnet.blocks[1].conv1(resnet.blocks[0].conv2(inner) + stem))


def test_residual_blocks_answer_after_batchnorm_and_after_the_sum(resnet):
    x = torch.randn(3, 1, 8, 8)
    pre, post = responses(resnet, x, "pre"), responses(resnet, x, "post")
    resnet.eval()
    with torch.no_grad():
        stem = resnet.bn(resnet.conv(x))
        block = resnet.blocks[1]
        block_in = resnet.blocks[0](stem.relu())
        inner = block.bn1(block.conv1(block_in))
        own = block.bn2(block.conv2(inner.relu()))
        shortcut = block.shortcut(block_in)
    assert torch.equal(pre["conv"], stem)
    assert torch.equal(post["conv"], stem.relu())
    assert torch.equal(pre["blocks.1.conv1"], inner)
    assert torch.equal(post["blocks.1.conv1"], inner.relu())
    assert torch.equal(pre["blocks.1.conv2"], own)
    assert torch.equal(pre["blocks.1.shortcut.0"], shortcut)
    for name in ("blocks.1.conv2", "blocks.1.shortcut.0"):
        assert torch.equal(post[name], (own + shortcut).relu())
    assert torch.equal(post["fc"], resnet(x))


def test_pooling_before_the_nonlinearity_and_writing_in_place_are_followed():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 2, 3)
            self.conv2 = nn.Conv2d(2, 2, 3, padding=1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            x = F.relu(F.max_pool2d(self.conv1(x), 2))
            out = self.conv2(x)
            out += x
            return self.relu(out).mul_(0)

    network, x = Net(), torch.randn(2, 1, 8, 8)
    pre, post = responses(network, x, "pre"), responses(network, x, "post")
    with torch.no_grad():
        conv1 = network.conv1(x)
        pooled = F.max_pool2d(conv1, 2).relu()
        conv2 = network.conv2(pooled)
    assert torch.equal(pre["conv1"], conv1)
    assert torch.equal(post["conv1"], pooled)
    assert torch.equal(pre["conv2"], conv2)
    assert torch.equal(post["conv2"], (conv2 + pooled).relu())


def test_the_network_is_left_as_it_was(resnet):
    resnet.train()
    resnet.bn.eval()
    before = {name: tensor.clone() for name, tensor in resnet.state_dict().items()}
    for point in ("post", "pre", "filters"):
        responses(resnet, torch.randn(3, 1, 8, 8), point)
    assert all(torch.equal(before[name], tensor) for name, tensor in resnet.state_dict().items())
    assert [name for name, module in resnet.named_modules() if not module.training] == ["bn"]
    assert not any(module._forward_hooks for module in resnet.modules())


def test_mistakes_are_named(resnet):
    with pytest.raises(SparsityError, match="no point called 'before'"):
        responses(resnet, torch.ones(1, 1, 8, 8), "before")
    with pytest.raises(SparsityError, match=r"ResNet cannot take images of shape \(3, 8, 8\)"):
        responses(resnet, torch.ones(1, 3, 8, 8))
    resnet.spare = nn.Linear(2, 2)
    with pytest.raises(SparsityError, match="layer 'spare' does not run"):
        responses(resnet, torch.ones(1, 1, 8, 8))
