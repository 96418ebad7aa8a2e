"""The watch that the cryptors' own tests use, for real models."""

from tests.cryptors.leftovers import memory_only

__all__ = ["memory_only"]
