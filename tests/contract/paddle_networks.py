"""The network of networks.py as a Paddle layer. `--architecture` names this file."""

from typing import Any

from tests.contract.networks import PATTERNED, TINY, WIDE
from tests.paddle_models import new_layer

__all__ = ["patterned_network", "tiny_network", "wide_network"]


def tiny_network() -> Any:
    """Returns a network with weights of its own, which a state dict then replaces."""
    return new_layer(TINY)


def wide_network() -> Any:
    """Returns the wide one."""
    return new_layer(WIDE)


def patterned_network() -> Any:
    """Returns the one that holds a pattern, without the pattern."""
    return new_layer(PATTERNED)
