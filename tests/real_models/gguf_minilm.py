"""MiniLM as a GGUF file: llama.cpp knows embedding models of BERT's kind. It has no networks of convolutions."""

import json
from pathlib import Path
from typing import Any

from tests.real_models import minilm
from tools.demo_model import find_minilm

__all__ = ["write_gguf"]


def write_gguf(path: Path) -> Path:
    """Writes the model with its tokenizer, so that it takes sentences."""
    import gguf

    architecture = gguf.MODEL_ARCH.BERT
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    write_shape(writer)
    write_tokenizer(writer)
    names = gguf.get_tensor_name_map(architecture, minilm.LAYERS)
    for name, array in minilm.weights().items():
        # The file has no place for the table of positions, which is 0, 1, 2, …, and for the unused pooler.
        if (its := names.get_name(name, (".weight", ".bias"))) is not None:
            writer.add_tensor(its, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_shape(writer: Any) -> None:
    """Writes the sizes of the network."""
    import gguf

    writer.add_block_count(minilm.LAYERS)
    writer.add_context_length(minilm.POSITIONS)
    writer.add_embedding_length(minilm.HIDDEN)
    writer.add_feed_forward_length(minilm.WIDENED)
    writer.add_head_count(minilm.HEADS)
    writer.add_layer_norm_eps(minilm.EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)


def write_tokenizer(writer: Any) -> None:
    """Writes the vocabulary. llama.cpp marks the beginnings of words, where BERT marks what continues one."""
    import gguf

    vocabulary = json.loads((find_minilm() / "tokenizer.json").read_text())["model"]["vocab"]
    words = sorted(vocabulary, key=lambda word: int(vocabulary[word]))
    special = {word for word in words if word.startswith("[") and word.endswith("]") and len(word) > 2}
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(2)
    writer.add_token_list(
        [
            word if word in special else word[2:] if word.startswith("##") and len(word) > 2 else f"\u2581{word}"
            for word in words
        ]
    )
    kinds = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.NORMAL}
    writer.add_token_types([kinds[word in special] for word in words])
    for word, add in (
        ("[UNK]", writer.add_unk_token_id),
        ("[PAD]", writer.add_pad_token_id),
        ("[CLS]", writer.add_bos_token_id),
        ("[SEP]", writer.add_sep_token_id),
        ("[MASK]", writer.add_mask_token_id),
    ):
        add(vocabulary[word])
