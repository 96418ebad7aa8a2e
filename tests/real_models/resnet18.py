"""ResNet-18 in PyTorch, with the usual names of its parameters, and with weights that are always the same.

The architecture is that of https://arxiv.org/abs/1512.03385 (11.7 million parameters).
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from tests.real_models.kind import Arrays, RealModel, kept

__all__ = ["CLASSES", "IMAGE_SIZE", "RESNET18", "STAGES", "ResNet18", "weights"]

IMAGE_SIZE = 224
CLASSES = 1000
STAGES = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
"""Of each stage: channels in, channels out, and the stride of its first block."""


class Block(nn.Module):  # type: ignore[misc]
    """Two convolutions, and a way around them."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Sequential()
        if stride != 1:
            self.downsample.append(nn.Conv2d(channels_in, channels, 1, stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.downsample(x))


class ResNet18(nn.Module):  # type: ignore[misc]
    """Images [batch, 3, height, width] to scores [batch, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(Block(before, after, stride), Block(after, after, 1)) for before, after, stride in STAGES
        )
        self.fc = nn.Linear(512, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


@kept
def weights() -> Arrays:
    """Returns the weights by PyTorch's names and in its layouts.

    Convolutions are scaled as https://arxiv.org/abs/1502.01852 says, so that numbers keep their size from layer to
    layer. The statistics of the normalisations differ from 0 and 1: a framework that ignored one would be found out.
    """
    random = np.random.default_rng(18)
    scales = {"weight": (0.7, 0.1), "bias": (0.0, 0.1), "running_mean": (0.0, 0.1), "running_var": (1.0, 0.1)}
    arrays: Arrays = {}
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in ResNet18().state_dict().items()}
    for name, shape in shapes.items():
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            arrays[name] = np.array(1000)
            continue
        mean, deviation = scales[kind] if len(shape) == 1 else (0.0, (2 / np.prod(shape[1:])) ** 0.5)
        arrays[name] = (mean + deviation * random.standard_normal(shape)).astype(np.float32)
    return arrays


@kept
def module() -> Any:
    """Returns the module with these weights, ready to infer."""
    with torch.device("meta"):  # Weights that are replaced at once need not be made.
        network = ResNet18().eval()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights().items()}, assign=True)
    return network


def image() -> Arrays:
    """Returns an image of noise, float32 [1, 3, 224, 224]."""
    return {"x": np.random.default_rng(224).standard_normal((1, 3, IMAGE_SIZE, IMAGE_SIZE)).astype(np.float32)}


RESNET18 = RealModel("resnet18", f"{__file__}:ResNet18", module, image)
