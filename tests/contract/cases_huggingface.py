"""Hugging Face: a small BERT as `save_pretrained` writes it, in one file and in shards."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from cryptors import ModelType
from tests.contract.case import Arrays, Case, patterned
from tests.contract.networks import LARGE, PATTERNED, TINY, WIDE

__all__ = ["CASES", "bert_inputs", "make_bert", "make_sharded"]

SIZES = {TINY: 8, WIDE: 512, PATTERNED: 512, LARGE: 1664}
"""Hidden sizes for the widths of the other cases' networks, so that models become about as large as those."""
WORDS = 40


def make_bert(width: int) -> Any:
    from transformers import BertConfig, BertModel

    size = SIZES[width]
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=size,
        intermediate_size=4 * size,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
    )
    torch.manual_seed(7)
    bert = BertModel(config).eval()
    if width == PATTERNED:
        bert.load_state_dict({name: patterned(tensor.shape) for name, tensor in bert.state_dict().items()})
    return bert


def make_directory(folder: Path, width: int) -> Path:
    make_bert(width).save_pretrained(folder / "bert")
    return folder / "bert"


def make_sharded(folder: Path, width: int) -> Path:
    bert = make_bert(width)
    bert.save_pretrained(folder / "bert", max_shard_size=bert.num_parameters() * 4 // 3)
    assert (folder / "bert" / "model.safetensors.index.json").exists()
    return folder / "bert"


def read_bert(path: Path) -> Any:
    from transformers import BertModel

    return BertModel.from_pretrained(path, local_files_only=True)


def bert_inputs(width: int) -> Arrays:
    """Returns two sentences, one of them shorter."""
    words = np.random.default_rng(1).integers(0, WORDS, (2, 5))
    return {"input_ids": words, "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])}


def bert_outputs(bert: Any) -> Arrays:
    words = {name: torch.from_numpy(array) for name, array in bert_inputs(TINY).items()}
    with torch.inference_mode():
        outputs = bert(**words)
    return {name: outputs[name].numpy() for name in ("last_hidden_state", "pooler_output")}


NEEDS = dict.fromkeys(("transformers", "torch", "safetensors"), "huggingface")
ALSO = frozenset({ModelType.MODEL_SAFETENSORS})

CASES = [
    Case(
        name, ModelType.MODEL_HUGGINGFACE, make, read_bert, bert_outputs, lambda path: bert_outputs(read_bert(path)),
        needs, inputs=bert_inputs, also=ALSO,
    )
    for name, make, needs in (
        ("huggingface", make_directory, NEEDS),
        ("huggingface-sharded", make_sharded, {"transformers": "huggingface"}),
    )
]  # fmt: skip
