"""One kind of model that the suite tries, and the network that all kinds hold."""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cryptors import ModelType
from tests.contract import networks
from tests.patterned_models import PATTERN

__all__ = ["Arrays", "Case", "inputs", "patterned", "trained_network", "trained_weights"]

Arrays = dict[str, Any]


def no_arguments(width: int) -> tuple[str, ...]:
    """Most models run as they are."""
    return ()


def inputs(width: int) -> Arrays:
    """Returns two rows of numbers."""
    return {"x": np.random.default_rng(1).standard_normal((2, width)).astype(np.float32)}


@dataclass(frozen=True)
class Case:
    """One kind of model.

    Attributes:
        name: as the tests' names show it.
        model_type: its type.
        make: writes the plaintext of a network of some width into an empty folder, and returns what a vendor would
            give to `encrypt`.
        read: opens the plaintext with its framework alone.
        arrays: turns what `read`, `decrypt` and `load` return into arrays to compare: outputs, or the weights
            themselves where there is nothing to run.
        run: the outputs of the plaintext for its inputs, by the names that `weightlock run` gives them; None for a
            type that cannot run by itself.
        options: what `decrypt` and `load` need beside a key.
        run_arguments: what `weightlock run` needs for a network of some width beside a license.
        needs: the modules without which nothing can be loaded, each with the extra that installs it.
        also: other types whose cryptors take the same plaintext.
        stand_in: puts a stand-in into the place of a runtime that needs a GPU, for as long as its context lasts. The
            outputs of such a case say nothing about the real runtime.
        peak: how many times the model's size loading it may take at most, beside what the framework takes for itself.
        inputs: what `run` is given for a network of some width.
    """

    name: str
    model_type: ModelType
    make: Callable[[Path, int], Path]
    read: Callable[[Path], Any]
    arrays: Callable[[Any], Arrays]
    run: Callable[[Path], Arrays] | None
    needs: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    run_arguments: Callable[[int], tuple[str, ...]] = no_arguments
    also: frozenset[ModelType] = frozenset()
    stand_in: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    peak: float = 1.1
    inputs: Callable[[int], Arrays] = inputs

    @property
    def is_real(self) -> bool:
        """Whether the framework itself runs, and no stand-in."""
        return self.stand_in is contextlib.nullcontext


def trained_network(width: int) -> Any:
    """Returns the network, with weights that are always the same and are not those that `--architecture` makes.

    The weights of the width `PATTERNED` are the pattern of tests/patterned_models.py, along rows and along columns: a
    framework that transposes a matrix does not hide it.
    """
    generator = torch.Generator().manual_seed(7)
    with torch.device("meta"):  # Weights that are replaced at once need not be made.
        network = networks.Network(width).eval()
    fill = patterned if width == networks.PATTERNED else partial(torch.randn, generator=generator)
    network.load_state_dict({name: fill(tensor.shape) for name, tensor in network.state_dict().items()}, assign=True)
    return network


def patterned(shape: Sequence[int]) -> torch.Tensor:
    """Returns a tensor of some shape that holds the pattern along each of its dimensions."""
    pattern = torch.frombuffer(bytearray(PATTERN), dtype=torch.float32)
    return pattern[np.indices(shape).sum(axis=0) % len(pattern)]


def trained_weights(width: int) -> Arrays:
    """Returns the network's weights as NumPy arrays: "first.weight", "first.bias", "last.weight", "last.bias".

    Weights are as PyTorch's linear layers hold them: y = x @ weight.T + bias.
    """
    return {name: tensor.numpy() for name, tensor in trained_network(width).state_dict().items()}
