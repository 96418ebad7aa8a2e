"""Hugging Face: MiniLM's directory as it was published, and ResNet-18 as `transformers` saves its own class for it."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cryptors import ModelType
from tests.real_models.kind import Arrays, Kind
from tests.real_models.minilm import MINILM, SENTENCES
from tests.real_models.resnet18 import CLASSES, RESNET18
from tools.demo_model import find_minilm

__all__ = ["KINDS"]

NAMES: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"^conv1\.": "resnet.embedder.embedder.convolution.",
    r"^bn1\.": "resnet.embedder.embedder.normalization.",
    r"^fc\.": "classifier.1.",
    r"^layer(\d)\.(\d)\.": lambda found: f"resnet.encoder.stages.{int(found[1]) - 1}.layers.{found[2]}.",
    r"\.conv(\d)\.": lambda found: f".layer.{int(found[1]) - 1}.convolution.",
    r"\.bn(\d)\.": lambda found: f".layer.{int(found[1]) - 1}.normalization.",
    r"\.downsample\.0\.": ".shortcut.convolution.",
    r"\.downsample\.1\.": ".shortcut.normalization.",
}
"""From PyTorch's usual names to those of `transformers`, applied one after another."""


def make_resnet(folder: Path) -> Path:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", num_labels=CLASSES)
    network = ResNetForImageClassification(config)
    state = {}
    for name, tensor in RESNET18.module().state_dict().items():
        for pattern, replacement in NAMES.items():
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    network.load_state_dict(state)
    network.save_pretrained(folder / "model")
    return folder / "model"


def read_resnet(path: Path) -> Any:
    from transformers import AutoModelForImageClassification

    return AutoModelForImageClassification.from_pretrained(path, local_files_only=True)


def pixels() -> Arrays:
    return {"pixel_values": RESNET18.inputs()["x"]}


def run_resnet(network: Any) -> Any:
    with torch.inference_mode():
        return network(torch.from_numpy(pixels()["pixel_values"])).logits.numpy()


def make_minilm(folder: Path) -> Path:
    return Path(shutil.copytree(find_minilm(), folder / "model"))


def read_minilm(path: Path) -> Any:
    from transformers import AutoModel, AutoTokenizer

    return (
        AutoModel.from_pretrained(path, local_files_only=True),
        AutoTokenizer.from_pretrained(path, local_files_only=True),
    )


def run_minilm(pair: Any) -> Any:
    """Computes embeddings of sentences, as the model's card says."""
    network, tokenizer = pair
    with torch.inference_mode():
        tokens = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
        mask = tokens["attention_mask"][:, :, None]
        mean = (network(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=1).numpy()


KINDS = [
    Kind(RESNET18, "huggingface", ModelType.MODEL_HUGGINGFACE, make_resnet, read_resnet, run_resnet, pixels),
    # On arrays alone it gives states of tokens, which are no embeddings yet.
    Kind(
        MINILM, "huggingface", ModelType.MODEL_HUGGINGFACE, make_minilm, read_minilm, run_minilm,
        options={"tokenizer": True},
    ),
]  # fmt: skip
