"""Hugging Face: what of a directory is read, what is never run, and what is no such model."""

import gc
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cryptors.memory_folder import PlaintextFolder
from tests.contract.cases_huggingface import make_bert, make_sharded
from tests.contract.networks import TINY
from tests.cryptors.containers import CONTENT_KEY
from tests.cryptors.huggingface_setting import (
    HUGGINGFACE,
    assert_refused,
    change_json,
    contents,
    load,
    load_container,
    lock,
    state,
)

pytestmark = pytest.mark.usefixtures("memory_only")

INDEX = "model.safetensors.index.json"


# What of a directory is read.


def test_other_formats_of_the_same_weights_take_no_memory(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    class Watched(PlaintextFolder):
        def __init__(self, model: Any, names: Any) -> None:
            used.extend(names)
            super().__init__(model, names)

    monkeypatch.setattr("cryptors.huggingface_cryptor.PlaintextFolder", Watched)
    (bert / "onnx").mkdir()
    for name in ("pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "consolidated.safetensors", "code.py"):
        (bert / name).write_bytes(b"another")
    (bert / "1_Pooling").mkdir()
    (bert / "1_Pooling" / "config.json").write_text("{}")
    load(bert)
    assert sorted(used) == ["1_Pooling/config.json", "config.json", "model.safetensors"]


def test_weights_as_a_pickle(bert: Path) -> None:
    expected = state(make_bert(TINY))
    (bert / "model.safetensors").unlink()
    torch.save(make_bert(TINY).state_dict(), bert / "pytorch_model.bin")
    loaded = load(bert)
    gc.collect()
    assert torch.equal(state(loaded), expected)


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("it ran",)


def test_weights_as_a_pickle_that_runs_code(bert: Path) -> None:
    (bert / "model.safetensors").unlink()
    buffer = io.BytesIO()
    torch.save({"x": Hostile()}, buffer)
    for data in (buffer.getvalue(), pickle.dumps(Hostile(), protocol=2)):
        (bert / "pytorch_model.bin").write_bytes(data)
        error = assert_refused("unsafe_pickle", load_container, contents(bert), bert.parent)
        assert error.__cause__ is not None


def test_shards(tmp_path: Path) -> None:
    model = make_sharded(tmp_path, TINY)
    assert torch.equal(state(load(model)), state(make_bert(TINY)))


def test_shard_that_is_missing_is_noticed_by_the_vendor(tmp_path: Path) -> None:
    model = make_sharded(tmp_path, TINY)
    shard = min(model.glob("model-*"))
    shard.unlink()
    error = assert_refused("model_source_invalid", lock, model)
    assert shard.name in error.message


def test_directory_without_weights_is_noticed_by_the_vendor(bert: Path) -> None:
    """transformers looks for its own names only, and the customer would be told so."""
    (bert / "model.safetensors").rename(bert / "weights.safetensors")
    error = assert_refused("model_source_invalid", lock, bert)
    assert "no weights" in error.message
    error = assert_refused("model_rejected", load_container, contents(bert), bert.parent)
    assert "no file named model.safetensors" in error.message
    assert "weightlock-" not in error.message
    change_json(bert / "config.json", transformers_weights="weights.safetensors")
    assert torch.equal(state(load(bert)), state(make_bert(TINY)))


@pytest.mark.parametrize("index", [INDEX, "pytorch_model.bin.index.json"])
def test_index_that_is_none(bert: Path, index: str) -> None:
    (bert / "model.safetensors").rename(bert / "another.bin")
    (bert / index).write_text("{}")
    assert index in assert_refused("model_source_invalid", lock, bert).message
    assert index in assert_refused("model_malformed", load_container, contents(bert), bert.parent).message


def test_chat_template_comes_along(bert: Path) -> None:
    (bert / "vocab.txt").write_text("\n".join(["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "hello"]))
    (bert / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (bert / "chat_template.jinja").write_text("{% for message in messages %}{{ message.content }}!{% endfor %}")
    _, tokenizer = load(bert, tokenizer=True)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False) == "hello!"
    assert tokenizer("hello")["input_ids"] == [2, 5, 3]


# What is never run.


def test_code_in_the_directory_is_never_run(bert: Path) -> None:
    """It is kept, and a model that cannot do without is refused."""
    ran = bert.parent / "ran"
    (bert / "modeling_own.py").write_text(f"open({str(ran)!r}, 'w')")
    (bert / "configuration_own.py").write_text(f"open({str(ran)!r}, 'w')")
    assert torch.equal(state(load(bert)), state(make_bert(TINY)))
    auto_map = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    change_json(bert / "config.json", auto_map=auto_map, model_type="own", architectures=["OwnModel"])
    error = assert_refused("model_rejected", load_container, contents(bert), bert.parent)
    assert error.message == "the model brings code of its own, which is never run"
    assert error.__cause__ is not None
    assert not ran.exists()


def test_remote_code_is_not_an_option(bert: Path) -> None:
    error = assert_refused("usage", load, bert, trust_remote_code=True)
    assert "cache on disk" in error.hints[0]
    assert HUGGINGFACE.load(bert.parent / "bert.locked", CONTENT_KEY, trust_remote_code=False)


def test_kernels_of_a_hub_are_no_option(bert: Path) -> None:
    assert_refused("usage", load, bert, attn_implementation="kernels-community/flash-attn")


# What is no such model.


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000])
def test_configuration_that_is_none(bert: Path, text: str) -> None:
    (bert / "config.json").write_text(text)
    assert_refused("model_type_mismatch", lock, bert)
    assert_refused("model_malformed", load_container, contents(bert), bert.parent)


def test_configuration_that_is_missing(bert: Path) -> None:
    (bert / "config.json").unlink()
    assert_refused("model_malformed", load_container, contents(bert), bert.parent)


def test_what_transformers_does_not_accept(bert: Path) -> None:
    whole = contents(bert)
    weights = whole["model.safetensors"]
    for changes in (
        {"model.safetensors": weights[:-1]},
        {"model.safetensors": weights[:100]},
        {"config.json": whole["config.json"].replace(b'"hidden_size": 8', b'"hidden_size": 16')},
        {"config.json": whole["config.json"].replace(b'"hidden_size": 8', b'"hidden_size": "eight"')},
        {"config.json": b'{"model_type": "no-such-model"}'},
    ):
        assert assert_refused("model_rejected", load_container, {**whole, **changes}, bert.parent).__cause__ is not None
    del whole["model.safetensors"]
    assert_refused("model_rejected", load_container, whole, bert.parent)


def test_tokenizer_that_is_not_there(bert: Path) -> None:
    """transformers would make one up that knows no words."""
    error = assert_refused("model_rejected", load, bert, tokenizer=True)
    assert error.message == "the model comes without a tokenizer"


@pytest.mark.parametrize("name", ["BertTokenizer", "AutoModel", "pipeline", "auto"])
def test_name_that_is_no_tokenizer_class(bert: Path, name: str) -> None:
    assert_refused("usage", load, bert, tokenizer=name)


def test_processor_of_a_model_that_takes_sound(tmp_path: Path) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    layers = {"conv_dim": (8,), "conv_kernel": (10,), "conv_stride": (5,), "num_conv_pos_embeddings": 2}
    Wav2Vec2Model(Wav2Vec2Config(**sizes, **layers, num_conv_pos_embedding_groups=1)).save_pretrained(tmp_path / "w")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "w")
    model, processor = load(tmp_path / "w", tokenizer="AutoFeatureExtractor")
    values = processor(np.arange(100, dtype=np.float32), sampling_rate=16000, return_tensors="np").input_values
    assert HUGGINGFACE.infer(model, {"arr_0": values}, "cpu")["last_hidden_state"].shape == (1, 19, 8)
