"""The networks that people come with, narrow and for small inputs, and the data and modules that train them.

Each is made by a function without arguments, so that the command line can name it, as
`--model.network tests.networks_of_the_field.resnet18`. Tests take them by name from `FIELD`.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import pytorch_lightning as pl
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import BasicBlock

from sparsity.classifier import SparseClassifier
from sparsity.networks import FC, VGG16, WideResNet
from tests.graph.networks import last_step, small_unet

CLASSES = 3
TOKENS = 20
IMAGE = (3, 32, 32)
SAMPLES = 8
BATCH = 4
RATE = 1e-3
STEPS = SAMPLES // BATCH


def resnet18() -> nn.Module:
    return torchvision.models.ResNet(BasicBlock, [2, 2, 2, 2], num_classes=CLASSES)


def mobilenet_v2() -> nn.Module:
    return torchvision.models.mobilenet_v2(num_classes=CLASSES, width_mult=0.25)


def mobilenet_v3_small() -> nn.Module:
    return torchvision.models.mobilenet_v3_small(num_classes=CLASSES, width_mult=0.25)


def vision_transformer() -> nn.Module:
    return torchvision.models.VisionTransformer(
        32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=CLASSES
    )


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer([4, 4], 8, [2, 2], [2, 4], [4, 4], num_classes=CLASSES)


def densenet121() -> nn.Module:
    return torchvision.models.DenseNet(4, (6, 12, 24, 16), 8, num_classes=CLASSES)


def googlenet() -> nn.Module:
    return torchvision.models.googlenet(num_classes=CLASSES, aux_logits=False, init_weights=False)


def efficientnet_b0() -> nn.Module:
    return torchvision.models.efficientnet_b0(num_classes=CLASSES)


def convnext_tiny() -> nn.Module:
    blocks = [CNBlockConfig(8, 16, 3), CNBlockConfig(16, 32, 3), CNBlockConfig(32, 64, 9), CNBlockConfig(64, None, 3)]
    return torchvision.models.ConvNeXt(blocks, num_classes=CLASSES)


def shufflenet() -> nn.Module:
    return torchvision.models.shufflenet_v2_x0_5(num_classes=CLASSES)


class SequenceClassifier(nn.Module):
    """A transformer encoder of token ids, with learned positions, of which the first place is read."""

    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = token_ids(1)
        self.table = nn.Embedding(TOKENS, 16)
        self.positions = nn.Parameter(torch.randn(1, 6, 16) * 0.02)
        layer = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.encoder(self.table(ids) + self.positions)[:, 0])


class Lstm(nn.Module):
    """Two layers in both directions, of token ids; the mean over time is read."""

    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = token_ids(1)
        self.table = nn.Embedding(TOKENS, 8)
        self.lstm = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.lstm(self.table(ids))[0].mean(1))


def unet() -> nn.Module:
    return small_unet()


def cnn_1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(8, 12, 5, padding=2, dilation=1), nn.GELU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(),
        nn.Linear(48, CLASSES),
    )  # fmt: skip


def gru() -> nn.Module:
    return last_step(nn.GRU)


class Block(nn.Module):
    """Causal attention and a feed-forward part, each behind a normalisation and with a connection around."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        found = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.out(found.transpose(1, 2).flatten(2)))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    """A language model whose head is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = token_ids(1)
        self.tokens, self.places = nn.Embedding(TOKENS, 16), nn.Embedding(6, 16)
        self.blocks = nn.ModuleList(Block(16, 2) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, TOKENS, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def bert() -> nn.Module:
    transformers = import_module("transformers")
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=TOKENS,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=8,
            num_labels=CLASSES,
        )
    )


def gpt2() -> nn.Module:
    transformers = import_module("transformers")
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=TOKENS, n_positions=8, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
        )
    )


def vgg16() -> nn.Module:
    return VGG16(width=8, num_classes=CLASSES)


def wide_resnet() -> nn.Module:
    return WideResNet(22, 2, num_classes=CLASSES)


def lenet_300_100() -> nn.Module:
    return FC(widths=[300, 100], num_classes=CLASSES)


def timm_resnet() -> nn.Module:
    return timm.create_model("resnet10t", num_classes=CLASSES)


def timm_vit() -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_classes=CLASSES
    )


class Pairs(nn.Module):
    """Compares two sequences by a matrix of its own, with gates that are parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = signals(1, 5, 6), signals(1, 5, 6)
        self.first, self.second = nn.Linear(6, 8), nn.Linear(6, 8)
        self.mixing = nn.Parameter(torch.randn(8, 8) / 8**0.5)
        self.gate = nn.Parameter(torch.zeros(8))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = self.first(a).relu(), self.second(b) * self.gate.sigmoid()
        alike = torch.einsum("btc,cd,bsd->bts", a, self.mixing, b).softmax(-1)
        return self.head(torch.cat([a, torch.einsum("bts,bsd->btd", alike, b)], -1).mean(1))


def signals(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def token_ids(count: int) -> Tensor:
    return torch.randint(1, TOKENS, (count, 6), generator=torch.Generator().manual_seed(3))


def classes(*shape: int) -> Tensor:
    return (torch.arange(SAMPLES) % CLASSES).view(-1, *[1] * len(shape)).expand(SAMPLES, *shape)


class Named(Dataset[dict[str, Tensor]]):
    """Samples as Hugging Face's data sets give them."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self.columns.items()}


def images_and_classes(shape: tuple[int, ...] = IMAGE) -> Dataset[Any]:
    return TensorDataset(signals(SAMPLES, *shape), classes())


def tokens_and_classes() -> Dataset[Any]:
    return TensorDataset(token_ids(SAMPLES), classes())


def tokens() -> Dataset[Any]:
    return TensorDataset(token_ids(SAMPLES))


def images_and_maps() -> Dataset[Any]:
    return TensorDataset(signals(SAMPLES, *IMAGE), classes(32, 32) % 2)


def sentences() -> Dataset[Any]:
    ids = token_ids(SAMPLES)
    return Named(input_ids=ids, attention_mask=torch.ones_like(ids), labels=classes())


def texts() -> Dataset[Any]:
    ids = token_ids(SAMPLES)
    return Named(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids)


def pairs() -> Dataset[Any]:
    return TensorDataset(signals(SAMPLES, 5, 6), signals(SAMPLES, 5, 6).flip(0), classes())


class Own(pl.LightningModule):
    """As somebody writes it who does not know this package: a loss of a batch, logged, and an optimizer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """What is made small, a mean over the batch."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch), batch_size=BATCH)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/loss", self.loss(batch), batch_size=BATCH)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class LanguageModel(Own):
    """Predicts the next token."""

    def loss(self, batch: Any) -> Tensor:
        (ids,) = batch
        return F.cross_entropy(self.network(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


class Segmentation(Own):
    """Classifies every pixel."""

    def loss(self, batch: Any) -> Tensor:
        images, maps = batch
        return F.cross_entropy(self.network(images), maps)


class HuggingFace(Own):
    """The network computes its own loss."""

    def loss(self, batch: Any) -> Tensor:
        return self.network(**batch).loss


class OfPairs(Own):
    """A network of two inputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.example_input_array = network.example_input_array

    def loss(self, batch: Any) -> Tensor:
        a, b, label = batch
        return F.cross_entropy(self.network(a, b), label)


def classifier(network: nn.Module) -> SparseClassifier:
    """Ours, at a learning rate that blows up no network within a few steps."""
    return SparseClassifier(network, optimizer=partial(torch.optim.SGD, lr=RATE))


@dataclass(frozen=True)
class FieldNetwork:
    """A network of the field, and how it is trained.

    Args:
        title: In the table.
        make: The network, untrained; named on the command line by this module and its own name.
        data: The samples that it is trained on.
        module: Around it.
        pixels: Of an image so large that no kernel has places that only ever meet padding.
    """

    title: str
    make: Callable[[], nn.Module]
    data: Callable[[], Dataset[Any]] = images_and_classes
    module: Callable[[nn.Module], pl.LightningModule] = classifier
    pixels: int = 128

    @property
    def path(self) -> str:
        return f"{__name__}.{self.make.__name__}"

    def sample(self, pixels: int = 32) -> Any:
        """A batch of one as the network takes it, without labels; of an image network an image of this size."""
        if pixels != 32 and self.data in (images_and_classes, images_and_maps):
            return signals(1, 3, pixels, pixels)
        batch = next(iter(DataLoader(self.data(), batch_size=1)))
        if isinstance(batch, dict):
            return {name: column for name, column in batch.items() if name != "labels"}
        inputs = tuple(batch[:-1]) or tuple(batch)
        return inputs[0] if len(inputs) == 1 else inputs


FIELD: dict[str, FieldNetwork] = {
    one.make.__name__: one
    for one in (
        FieldNetwork("torchvision ResNet-18", resnet18),
        FieldNetwork("torchvision MobileNetV2", mobilenet_v2),
        FieldNetwork("torchvision MobileNetV3-small", mobilenet_v3_small),
        FieldNetwork("torchvision ViT", vision_transformer, pixels=32),
        FieldNetwork("torchvision Swin", swin),
        FieldNetwork("torchvision DenseNet-121", densenet121),
        FieldNetwork("torchvision GoogLeNet", googlenet),
        FieldNetwork("torchvision EfficientNet-B0", efficientnet_b0),
        FieldNetwork("torchvision ConvNeXt-tiny", convnext_tiny),
        FieldNetwork("torchvision ShuffleNetV2", shufflenet),
        FieldNetwork("torch TransformerEncoder", SequenceClassifier, tokens_and_classes),
        FieldNetwork("torch LSTM", Lstm, tokens_and_classes),
        FieldNetwork("torch GRU", gru, partial(images_and_classes, (6, 4))),
        FieldNetwork("1-D CNN", cnn_1d, partial(images_and_classes, (2, 32))),
        FieldNetwork("U-Net, segmentation", unet, images_and_maps, Segmentation),
        FieldNetwork("GPT with tied head", Gpt, tokens, LanguageModel),
        FieldNetwork("Hugging Face BERT", bert, sentences, HuggingFace),
        FieldNetwork("Hugging Face GPT-2", gpt2, texts, HuggingFace),
        FieldNetwork("timm ResNet", timm_resnet),
        FieldNetwork("timm ViT", timm_vit, pixels=32),
        FieldNetwork("our VGG-16", vgg16),
        FieldNetwork("our WideResNet-22-2", wide_resnet),
        FieldNetwork("our LeNet-300-100", lenet_300_100, partial(images_and_classes, (1, 28, 28))),
        FieldNetwork("a class of one's own", Pairs, pairs, OfPairs),
    )
}


class Samples(pl.LightningDataModule):
    """A few samples for a network of the field, the same for training, validation and test.

    Args:
        network: Its name.
    """

    def __init__(self, network: str) -> None:
        super().__init__()
        self.data = FIELD[network].data()

    def train_dataloader(self) -> DataLoader[Any]:
        # With a generator of its own a loader leaves the global random state to dropout.
        return DataLoader(self.data, batch_size=BATCH, shuffle=False, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()

    def test_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()
