"""GGUF: a small llama with random weights, in one file and split into several."""

from pathlib import Path
from typing import Any

import numpy as np

from cryptors import ModelType
from tests.components import need_module
from tests.contract.case import Arrays, Case, patterned
from tests.contract.networks import LARGE, PATTERNED, TINY, WIDE

__all__ = ["CASES", "OPTIONS", "llama_outputs", "read_llama", "write_llama"]

OPTIONS = {"n_ctx": 256, "n_batch": 32, "n_threads": 1, "n_threads_batch": 1, "logits_all": True}
"""One thread adds in one order, and the scores of every token are kept. Few tokens at a time need little memory."""
SIZES = {TINY: 32, WIDE: 640, PATTERNED: 512, LARGE: 2048}
"""Embeddings for the widths of the other cases' networks, so that models become about as large as those."""
VOCABULARY = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]


def write_llama(path: Path, width: int, tensors_in_a_file: int = 0) -> None:
    """Writes a llama of one layer.

    Args:
        path: the file; of several, each gets its number into its name.
        width: of the other cases' networks.
        tensors_in_a_file: at most; 0 for no limit.
    """
    import gguf

    need_module("llama_cpp")
    size = SIZES[width]
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=tensors_in_a_file)
    writer.add_context_length(256)
    writer.add_block_count(1)
    writer.add_embedding_length(size)
    writer.add_feed_forward_length(2 * size)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(size // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(VOCABULARY))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(VOCABULARY)
    writer.add_token_scores([0.0] * len(VOCABULARY))
    writer.add_token_types([gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    generator = np.random.default_rng(7)
    for name, shape in _shapes(size).items():
        random = generator.standard_normal(shape, np.float32) / np.sqrt(size, dtype=np.float32)
        writer.add_tensor(f"{name}.weight", patterned(shape).numpy() if width == PATTERNED else random)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _shapes(size: int) -> dict[str, tuple[int, ...]]:
    attention = {f"blk.0.attn_{part}": (size, size) for part in ("q", "k", "v", "output")}
    forward = {"blk.0.ffn_gate": (2 * size, size), "blk.0.ffn_up": (2 * size, size), "blk.0.ffn_down": (size, 2 * size)}
    norms = dict.fromkeys(("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"), (size,))
    words = {name: (len(VOCABULARY), size) for name in ("token_embd", "output")}
    return {**words, **attention, **forward, **norms}


def make_file(folder: Path, width: int) -> Path:
    write_llama(folder / "llama.gguf", width)
    return folder / "llama.gguf"


def make_parts(folder: Path, width: int) -> Path:
    model = folder / "llama"
    model.mkdir()
    write_llama(model / "llama.gguf", width, tensors_in_a_file=5)
    return model


def read_llama(path: Path) -> Any:
    import llama_cpp

    first = min(path.iterdir()) if path.is_dir() else path
    return llama_cpp.Llama(model_path=str(first), verbose=False, **OPTIONS)


def llama_outputs(llama: Any) -> Arrays:
    tokens = [1, 75, 108, 111]
    llama.reset()
    llama.eval(tokens)
    return {"scores": llama.scores[: len(tokens)].copy()}


GGUF = {"llama_cpp": "gguf"}

CASES = [
    Case("gguf", ModelType.MODEL_GGUF, make_file, read_llama, llama_outputs, None, GGUF, OPTIONS),
    Case("gguf-parts", ModelType.MODEL_GGUF, make_parts, read_llama, llama_outputs, None, GGUF, OPTIONS),
]
