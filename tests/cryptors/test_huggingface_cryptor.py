"""Hugging Face: which class loads a directory, its options, and the model that comes of it."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cryptors import load_model
from tests.contract.cases_huggingface import make_bert
from tests.contract.networks import TINY
from tests.cryptors.containers import CONTENT_KEY
from tests.cryptors.huggingface_setting import (
    HUGGINGFACE,
    WORDS,
    assert_refused,
    change_json,
    contents,
    load,
    load_container,
    lock,
)
from tools.demo_model import find_minilm

pytestmark = pytest.mark.usefixtures("memory_only")


def drop_tensor(model: Path, name: str) -> None:
    import safetensors.torch

    tensors = safetensors.torch.load_file(model / "model.safetensors")
    del tensors[name]
    safetensors.torch.save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


# A real model.


@pytest.mark.slow
def test_sentence_embeddings_of_minilm(tmp_path: Path) -> None:
    import transformers

    locked = tmp_path / "minilm.locked"
    HUGGINGFACE.encrypt(find_minilm(), CONTENT_KEY, locked)
    model, tokenizer = load_model(locked, crypt_key=CONTENT_KEY, tokenizer=True)
    plain = transformers.AutoModel.from_pretrained(find_minilm(), local_files_only=True)
    plain_tokenizer = transformers.AutoTokenizer.from_pretrained(find_minilm(), local_files_only=True)
    sentences = ["A man is eating food.", "Someone has a meal.", "The weather is cold"]

    def embeddings(of: Any, words: Any) -> Any:
        with torch.inference_mode():
            tokens, mask = of(**words).last_hidden_state, words["attention_mask"].unsqueeze(-1)
        return torch.nn.functional.normalize((tokens * mask).sum(1) / mask.sum(1), dim=1)

    found = embeddings(model, tokenizer(sentences, padding=True, return_tensors="pt"))
    expected = embeddings(plain, plain_tokenizer(sentences, padding=True, return_tensors="pt"))
    assert torch.equal(found, expected)
    assert found[0] @ found[1] > 0.5 > found[0] @ found[2]
    assert type(tokenizer) is type(plain_tokenizer)
    assert model.name_or_path == model.config.name_or_path == tokenizer.name_or_path == "model"


# Which class loads a directory.


def test_class_that_the_configuration_names(bert: Path) -> None:
    change_json(bert / "config.json", architectures=["BertForMaskedLM"])
    assert type(load(bert, auto_class="BertModel")).__name__ == "BertModel"
    error = assert_refused("model_rejected", HUGGINGFACE.load, bert.parent / "bert.locked", CONTENT_KEY)
    assert "'cls.predictions" in error.message, "the head, which transformers would fill with random numbers"


def test_class_that_is_not_there(bert: Path) -> None:
    for named in (["NoSuchModel"], [], None, "BertModel", [7], ["pipeline"]):
        change_json(bert / "config.json", architectures=named)
        assert type(load_container(contents(bert), bert.parent)).__name__ == "BertModel", named


@pytest.mark.parametrize("name", ["NoSuchModel", "pipeline", "AutoTokenizer", "BertConfig", "utils", "__name__"])
def test_name_that_is_no_model_class(bert: Path, name: str) -> None:
    assert_refused("usage", load, bert, auto_class=name)


def test_missing_tensor_is_not_made_up(bert: Path) -> None:
    drop_tensor(bert, "pooler.dense.bias")
    error = assert_refused("model_rejected", load, bert)
    assert "'pooler.dense.bias'" in error.message
    assert error.hints == ("to load it all the same, name its class: auto_class='BertModel'",)
    loaded = HUGGINGFACE.load(bert.parent / "bert.locked", CONTENT_KEY, auto_class="BertModel")
    assert loaded.pooler.dense.bias.shape == (8,)


# Options.


def test_attention(bert: Path) -> None:
    assert load(bert, attn_implementation="eager").config._attn_implementation == "eager"


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_type_of_the_weights(bert: Path, dtype: Any) -> None:
    loaded = load(bert, dtype=dtype)
    assert str(loaded.dtype).endswith(str(dtype).rpartition(".")[2])
    outputs = HUGGINGFACE.infer(loaded, WORDS, "cpu")
    assert outputs["last_hidden_state"].shape == (2, 5, 8)


def test_cuda_without_cuda(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_refused("framework_missing", load, bert, device="cuda:0")
    assert_refused("framework_missing", HUGGINGFACE.run_options, "cuda:0", None, False)


def test_progress_bars_are_as_before(bert: Path) -> None:
    import transformers

    log = transformers.utils.logging
    locked, before = lock(bert), log.is_progress_bar_enabled()
    try:
        for enabled in (False, True):
            (log.enable_progress_bar if enabled else log.disable_progress_bar)()
            HUGGINGFACE.load(locked, CONTENT_KEY)
            assert log.is_progress_bar_enabled() is enabled
    finally:
        (log.enable_progress_bar if before else log.disable_progress_bar)()


# The loaded model.


def test_weights_can_be_changed_and_outlive_their_memory(bert: Path) -> None:
    """They lie in a sealed memory file, which nobody can write to; what the caller changes is the caller's own copy."""
    loaded = load(bert)
    gc.collect()
    assert not loaded.training
    with torch.no_grad():
        loaded.pooler.dense.bias.fill_(7)
    assert loaded.pooler.dense.bias.tolist() == [7] * 8
    again = HUGGINGFACE.load(bert.parent / "bert.locked", CONTENT_KEY)
    assert torch.equal(again.pooler.dense.bias, make_bert(TINY).pooler.dense.bias)


def test_loaded_model_can_be_saved_and_does_not_name_its_folder(bert: Path) -> None:
    loaded = load(bert)
    assert "weightlock-" not in repr(vars(loaded.config))
    assert all(part.config.name_or_path == "bert" for part in loaded.modules() if hasattr(part, "config"))
    loaded.save_pretrained(bert.parent / "saved")
    assert (bert.parent / "saved" / "model.safetensors").read_bytes() == (bert / "model.safetensors").read_bytes()


def test_inputs_and_outputs(bert: Path) -> None:
    loaded = load(bert)
    named = HUGGINGFACE.infer(loaded, WORDS, "cpu")
    assert list(named) == ["last_hidden_state", "pooler_output"]
    by_position = HUGGINGFACE.infer(loaded, {"arr_0": WORDS["input_ids"], "arr_1": WORDS["attention_mask"]}, "cpu")
    assert by_position["pooler_output"].tobytes() == named["pooler_output"].tobytes()
    names = [spec.name for spec in HUGGINGFACE.signature(loaded).inputs]
    assert names[:3] == ["input_ids", "attention_mask", "token_type_ids"]
    assert not {"past_key_values", "use_cache", "kwargs"} & set(names)
    assert_refused("usage", HUGGINGFACE.infer, loaded, {"images": WORDS["input_ids"]}, "cpu")
    for wrong in ({}, {"input_ids": np.array([[10_000]])}, {"input_ids": np.array(["text"])}):
        assert assert_refused("model_rejected", HUGGINGFACE.infer, loaded, wrong, "cpu").__cause__ is not None


def test_outputs_in_a_sequence_have_numbers(bert: Path) -> None:
    change_json(bert / "config.json", output_hidden_states=True)
    outputs = HUGGINGFACE.infer(load(bert), WORDS, "cpu")
    assert list(outputs) == ["last_hidden_state", "pooler_output", "hidden_states_0", "hidden_states_1"]
