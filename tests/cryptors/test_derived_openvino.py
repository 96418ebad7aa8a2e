"""OpenVINO's compiled models, made from a locked model, stay locked under its license."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptors import CryptorFactory, ModelTypeError, load_derived, load_model, lock_derived, read_header
from cryptors.openvino_runtime import import_openvino
from tests.cryptors.containers import CONTENT_KEY
from tests.licensed_box import LicensedBox
from tests.patterned_models import WEIGHTS, holds_pattern

X: Any = np.ones((2, len(WEIGHTS)), np.float32)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product with a matrix whose bytes are a pattern, as IR, locked."""
    openvino = import_openvino()
    opset13 = importlib.import_module("openvino.opset13")
    folder = tmp_path_factory.mktemp("openvino")
    x = opset13.parameter([2, len(WEIGHTS)], np.float32, name="x")
    model = openvino.Model([opset13.matmul(x, opset13.constant(WEIGHTS), False, False)], [x], "product")
    openvino.save_model(model, folder / "m.xml", compress_to_fp16=False)
    CryptorFactory.instance("openvino").encrypt(folder / "m.xml", CONTENT_KEY, folder / "m.locked")
    return folder / "m.locked"


def outputs(compiled: Any) -> bytes:
    return bytes(compiled([X])[0].tobytes())


def test_compiled_model(locked: Path, tmp_path: Path, licensed_box: LicensedBox) -> None:
    license = licensed_box.license(tmp_path / "acme.lic", [(read_header(locked), CONTENT_KEY)])
    key, derived, made = licensed_box.unlocking(license), tmp_path / "compiled.locked", list[int]()

    def compile_model(path: str) -> None:
        blob = load_model(locked, **key).export_model().getvalue()
        assert holds_pattern(blob), "a compiled model holds the weights"
        made.append(Path(path).write_bytes(blob))

    for _ in range(2):
        compiled = load_derived(locked, compile_model, derived, model_type="openvino", **key)
        assert outputs(compiled) == outputs(load_model(locked, crypt_key=CONTENT_KEY))
    assert len(made) == 1
    assert read_header(derived).model_type == "openvino"
    assert not holds_pattern(derived.read_bytes())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acme.lic", "compiled.locked"]


def test_compiled_model_is_told_by_its_content(locked: Path, tmp_path: Path) -> None:
    blob = load_model(locked, crypt_key=CONTENT_KEY).export_model().getvalue()
    assert lock_derived(locked, blob, tmp_path / "compiled.locked", CONTENT_KEY).model_type == "openvino"
    with pytest.raises(ModelTypeError):
        CryptorFactory.instance("openvino").decrypt(tmp_path / "compiled.locked", CONTENT_KEY)
