"""A network of the smallest useful kind. `--architecture` names this file, and pickles of whole modules its class."""

from typing import Any

import torch

__all__ = ["LARGE", "PATTERNED", "TINY", "WIDE", "Network", "patterned_network", "tiny_network", "wide_network"]

TINY, WIDE, LARGE = 1, 1800, 5700
"""Widths. The tiny network fits into one segment; the wide one's 13 MB are work for several threads; the large one's
130 MB are much more than what a framework takes for itself."""

PATTERNED = 1024
"""The width of the network whose weights are a pattern that is recognised wherever it is; see `trained_network`."""


class Network(torch.nn.Module):  # type: ignore[misc]
    """Two linear layers with a ReLU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(width, width)
        self.last = torch.nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)))


def tiny_network() -> Any:
    """Returns a network with weights of its own, which a state dict then replaces."""
    return Network(TINY)


def wide_network() -> Any:
    """Returns the wide one."""
    return Network(WIDE)


def patterned_network() -> Any:
    """Returns the one that holds a pattern, without the pattern."""
    return Network(PATTERNED)
