"""The vendor's one call: what is locked is recorded, and what is recorded can be decrypted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from cryptors import CryptorFactory, EncryptOptions, Header, lock_model, read_header
from licensing.errors import WeightlockError
from licensing.vendor_home import VendorHome

WEIGHTS: Any = {"weight": np.arange(6, dtype=np.float32)}


@pytest.fixture
def vendor(tmp_path: Path) -> VendorHome:
    return VendorHome.create(tmp_path / "vendor", "Löwe AI")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_locked_model_is_recorded_with_its_key(vendor: VendorHome, model: Path, tmp_path: Path) -> None:
    header = lock_model(vendor, model, tmp_path / "model.locked", options=EncryptOptions(name="weights"))
    assert header == read_header(tmp_path / "model.locked")
    record = vendor.model(header.model_id)
    assert (record.name, record.model_type, record.key_id) == ("weights", "safetensors", header.key_id)
    tensors = CryptorFactory.instance("safetensors").decrypt(
        tmp_path / "model.locked", vendor.content_key(header.model_id), framework="np"
    )
    assert np.array_equal(tensors["weight"], WEIGHTS["weight"])


def test_every_model_gets_a_key_of_its_own(vendor: VendorHome, model: Path, tmp_path: Path) -> None:
    key_ids = {lock_model(vendor, model, tmp_path / f"{number}.locked").key_id for number in range(3)}
    assert len(key_ids) == 3


def test_callers_hook_sees_the_recorded_model_before_the_file_has_its_name(
    vendor: VendorHome, model: Path, tmp_path: Path
) -> None:
    seen: list[tuple[str, bool]] = []

    def hook(header: Header) -> None:
        seen.append((vendor.model(header.model_id).name, (tmp_path / "model.locked").exists()))

    lock_model(vendor, model, tmp_path / "model.locked", options=EncryptOptions(before_publish=hook))
    assert seen == [("model.safetensors", False)]


def test_failure_before_the_file_has_its_name_leaves_no_record(vendor: VendorHome, model: Path, tmp_path: Path) -> None:
    def fail(header: Header) -> None:
        raise InterruptedError

    with pytest.raises(WeightlockError):  # An error of the operating system while writing is a storage error.
        lock_model(vendor, model, tmp_path / "model.locked", options=EncryptOptions(before_publish=fail))
    assert vendor.models() == []
    assert not (tmp_path / "model.locked").exists()


@pytest.mark.parametrize(("model_type", "reason"), [(None, "model_type_mismatch"), ("onnx", "model_type_mismatch")])
def test_type_that_does_not_fit_is_refused(
    vendor: VendorHome, tmp_path: Path, model_type: str | None, reason: str
) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(WeightlockError) as refusal:
        lock_model(vendor, tmp_path / "notes.txt", tmp_path / "model.locked", model_type)
    assert refusal.value.reason == reason
    assert vendor.models() == []
