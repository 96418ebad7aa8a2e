"""GGUF: lock a language model, and let llama.cpp run it from memory.

python examples/gguf_model.py
"""

import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy

from cryptors import CryptorFactory, ModelType
from licensing import new_content_key

SIZE, HEADS, TOKENS = 32, 2, 256
VOCABULARY = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]


def make_model(path: Path) -> None:
    """Writes a llama of one layer with random weights: it speaks nonsense, but always the same."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(TOKENS)
    writer.add_block_count(1)
    writer.add_embedding_length(SIZE)
    writer.add_feed_forward_length(SIZE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(SIZE // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(VOCABULARY)
    writer.add_token_scores([0.0] * len(VOCABULARY))
    writer.add_token_types([gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256])
    shapes: dict[str, tuple[int, ...]] = {name: (len(VOCABULARY), SIZE) for name in ("token_embd", "output")}
    shapes |= {f"blk.0.{name}": (SIZE,) for name in ("attn_norm", "ffn_norm")} | {"output_norm": (SIZE,)}
    matrices = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes |= {f"blk.0.{name}": (SIZE, SIZE) for name in matrices}
    random = numpy.random.default_rng(1)
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def say(llama: llama_cpp.Llama) -> str:
    answer: str = llama("Hello", max_tokens=8, temperature=0)["choices"][0]["text"]
    return answer


def main(folder: Path) -> None:
    make_model(folder / "llama.gguf")

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_GGUF)
    cryptor.encrypt(model=folder / "llama.gguf", crypt_key=content_key, crypted_model=folder / "llama.gguf.locked")

    # Options are those of llama_cpp.Llama; n_gpu_layers=-1 would bring the model to the GPU.
    locked = cryptor.load(folder / "llama.gguf.locked", crypt_key=content_key, n_ctx=TOKENS)
    plain = llama_cpp.Llama(model_path=str(folder / "llama.gguf"), n_ctx=TOKENS, verbose=False)
    assert say(locked) == say(plain)
    print("the locked model says the same:", repr(say(locked)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
