"""GGUF: MiniLM, as llama.cpp runs it."""

from pathlib import Path
from typing import Any

import numpy as np

from cryptors import ModelType
from tests.components import need_module
from tests.real_models.gguf_minilm import write_gguf
from tests.real_models.kind import Kind
from tests.real_models.minilm import MINILM, POSITIONS, SENTENCES

__all__ = ["KINDS"]

OPTIONS = {"embedding": True, "n_ctx": POSITIONS}


def make_gguf(folder: Path) -> Path:
    need_module("llama_cpp")
    return write_gguf(folder / "model.gguf")


def read_gguf(path: Path) -> Any:
    from llama_cpp import Llama

    return Llama(str(path), verbose=False, **OPTIONS)


def run_gguf(llama: Any) -> Any:
    return np.array([llama.embed(sentence, normalize=True) for sentence in SENTENCES], np.float32)


KINDS = [
    # llama.cpp looks GELU up in a table of numbers with 16 bits.
    Kind(MINILM, "gguf", ModelType.MODEL_GGUF, make_gguf, read_gguf, run_gguf, options=OPTIONS, agrees=1e-3),
]
