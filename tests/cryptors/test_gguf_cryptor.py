"""GGUF: models in several files, what llama.cpp refuses, and options that it would ignore."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptors import CryptorFactory
from cryptors.detect import detect_type
from cryptors.gguf_parts import first_parts, parts_of
from cryptors.model_type import ModelType
from tests.contract.cases_gguf import OPTIONS, llama_outputs, read_llama, write_llama
from tests.contract.networks import TINY, WIDE
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.refusals import assert_refused

pytestmark = pytest.mark.usefixtures("memory_only")

GGUF = CryptorFactory.instance("gguf")
FIRST, SECOND, THIRD = (f"llama-{number:05}-of-00003.gguf" for number in (1, 2, 3))


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    write_llama(tmp_path / "llama.gguf", TINY)
    return tmp_path / "llama.gguf"


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    write_llama(tmp_path / "parts" / "llama.gguf", TINY, tensors_in_a_file=5)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [FIRST, SECOND, THIRD]
    return tmp_path / "parts"


def lock(model: Path) -> Path:
    locked = model.parent / "model.locked"
    GGUF.encrypt(model, CONTENT_KEY, locked)
    return locked


def load(locked: Path, **options: Any) -> Any:
    return GGUF.load(locked, CONTENT_KEY, **{**OPTIONS, **options})


def same(found: Any, plain: Path) -> bool:
    return np.array_equal(llama_outputs(found)["scores"], llama_outputs(read_llama(plain))["scores"])


# Models in several files.


def test_first_of_several_files_brings_the_others(parts: Path) -> None:
    for name in (FIRST, THIRD):
        locked = parts.parent / f"{name}.locked"
        GGUF.encrypt(parts / name, CONTENT_KEY, locked)
        assert same(load(locked), parts)


def test_directory_with_more_than_the_model(parts: Path) -> None:
    (parts / "README.md").write_text("A llama.")
    (parts / "imatrix.dat").write_bytes(b"")
    assert detect_type(parts) is ModelType.MODEL_GGUF
    locked = lock(parts)
    for path in parts.iterdir():
        if not path.name.endswith(".gguf"):
            path.unlink()
    assert same(load(locked), parts)


def test_part_that_is_missing_is_noticed_by_the_vendor(parts: Path) -> None:
    (parts / SECOND).unlink()
    for model in (parts, parts / FIRST):
        error = assert_refused("model_source_invalid", lock, model)
        assert error.message == f"the model lacks its part {SECOND!r}"


def test_directory_of_several_models(llama: Path) -> None:
    """Which one is meant, nobody can know."""
    llama.rename(llama.with_name("llama-q4.gguf"))
    write_llama(llama.with_name("llama-q8.gguf"), TINY)
    error = assert_refused("model_source_invalid", GGUF.encrypt, llama.parent, CONTENT_KEY, llama.parent / "x.locked")
    assert "2 GGUF models" in error.message
    assert detect_type(llama.parent) is None


def test_directory_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.gguf").write_bytes(b"something else")
    assert_refused("model_type_mismatch", lock, tmp_path / "model")
    (tmp_path / "model" / "model.gguf").rename(tmp_path / "model" / "model.bin")
    assert_refused("model_type_mismatch", lock, tmp_path / "model")


def test_names_of_parts() -> None:
    assert parts_of("a-00002-of-00002.gguf") == ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]
    for alone in ("a.gguf", "a-00001-of-00000.gguf", "a-1-of-2.gguf", "a-00001-of-00002.gguf.part"):
        assert parts_of(alone) == [alone]
    assert first_parts(["b-00002-of-00002.gguf", "b-00001-of-00002.gguf", "a.gguf", "a.txt"]) == [
        "a.gguf",
        "b-00001-of-00002.gguf",
    ]


def test_names_that_claim_many_parts() -> None:
    """Each names one file, and not 99999: this took a minute."""
    names = [f"{number}-00002-of-99999.gguf" for number in range(5000)]
    assert len(first_parts(names)) == len(names)


# The loaded model.


@pytest.mark.parametrize("options", [{"use_mmap": False}, {"use_mlock": True}])
def test_ways_to_hold_the_weights(llama: Path, options: dict[str, Any]) -> None:
    assert same(load(lock(llama), **options), llama)


def test_answers_name_the_locked_model(llama: Path) -> None:
    loaded = load(lock(llama), logits_all=False)
    answer = loaded("Hello", max_tokens=4, temperature=0)
    assert answer["model"] == "llama.gguf"
    assert len(answer["choices"][0]["text"]) > 0


def test_embeddings(llama: Path) -> None:
    import llama_cpp

    options: dict[str, Any] = {"n_ctx": 256, "n_threads": 1, "n_threads_batch": 1, "embedding": True}
    found = GGUF.load(lock(llama), CONTENT_KEY, **options).embed("Hello")
    plain = llama_cpp.Llama(model_path=str(llama), verbose=False, **options).embed("Hello")
    assert np.array_equal(found, plain)


def test_llama_says_what_it_does_when_asked(llama: Path, capfd: pytest.CaptureFixture[str]) -> None:
    locked = lock(llama)
    capfd.readouterr()
    load(locked)
    assert "llama_model_loader" not in capfd.readouterr().err
    load(locked, verbose=True)
    assert "llama_model_loader" in capfd.readouterr().err


# What llama.cpp does not accept.


def test_what_llama_does_not_accept(llama: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = llama.read_bytes()
    architecture = data.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0camel", 1)
    renamed = data.replace(b"output_norm.weight", b"output_nose.weight")
    for bad in (data[:-1], data[:-5000], data[:100], data[:4], b"GGUF" + bytes(100), architecture, renamed):
        locked = write_container(llama.parent / "x.locked", {"llama.gguf": bad}, model_type="gguf")
        error = assert_refused("model_rejected", load, locked)
        assert error.message == "llama.cpp did not accept the decrypted model"
        assert error.hints == ("load it with verbose=True: then llama.cpp says why",)
        assert error.__cause__ is not None
    capfd.readouterr()
    assert assert_refused("model_rejected", load, locked, verbose=True).hints == ()
    assert "output_norm" in capfd.readouterr().err


@pytest.mark.parametrize("threads", [1, 4])
def test_damaged_model_leaves_nothing_behind(tmp_path: Path, threads: int) -> None:
    """The reading that failed still holds parts of the memory when that is given back."""
    write_llama(tmp_path / "llama.gguf", WIDE)
    locked = lock(tmp_path / "llama.gguf")
    data = bytearray(locked.read_bytes())
    data[len(data) // 2] ^= 1
    locked.write_bytes(data)
    assert_refused("model_damaged", load, locked, threads=threads)


def test_part_that_is_another(parts: Path) -> None:
    (parts / SECOND).write_bytes((parts / THIRD).read_bytes())
    assert_refused("model_rejected", load, lock(parts))


# Options.


@pytest.mark.parametrize("option", ["n_contexts", "model_path", "kwargs"])
def test_option_that_llama_would_ignore(llama: Path, option: str) -> None:
    assert_refused("usage", load, lock(llama), **{option: 1})


def test_arrays_are_nothing_for_a_language_model(llama: Path) -> None:
    assert_refused("model_type_mismatch", GGUF.run_options, "cpu", None, False)
    loaded = load(lock(llama))
    assert_refused("model_type_mismatch", GGUF.infer, loaded, {"x": np.ones(1)}, "cpu")
    assert_refused("model_type_mismatch", GGUF.signature, loaded)


def test_file_of_the_old_toolkit(llama: Path) -> None:
    assert same(GGUF._load_bytes(llama.read_bytes(), **OPTIONS), llama)
