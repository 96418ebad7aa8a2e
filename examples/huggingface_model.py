"""Hugging Face: lock a model directory, and get model and tokenizer back from memory with one call.

python examples/huggingface_model.py
"""

import tempfile
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer

from cryptors import CryptorFactory, ModelType, load_model
from licensing import new_content_key

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world"]


def make_model(folder: Path) -> BertModel:
    """Writes a small model and its tokenizer, as `save_pretrained` writes those that were trained."""
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)})
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def main(folder: Path) -> None:
    model = make_model(folder / "bert")

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_HUGGINGFACE)
    cryptor.encrypt(model=folder / "bert", crypt_key=content_key, crypted_model=folder / "bert.locked")

    # A customer writes license="acme.lic" in the place of the key. Without tokenizer=True, the model comes alone.
    loaded, tokenizer = load_model(folder / "bert.locked", crypt_key=content_key, tokenizer=True)
    words = tokenizer("hello world", return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(loaded(**words).last_hidden_state, model(**words).last_hidden_state)
    print("the locked model gives the same output for the tokens", words["input_ids"].tolist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
