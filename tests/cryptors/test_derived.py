"""What is made from a locked model on a customer's box stays locked under that model's license."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from cryptors import EncryptOptions, load_derived, load_model, lock_derived, read_header
from cryptors.errors import CryptorError, KeyMismatchError, ModelMalformedError, ModelTypeError
from cryptors.keys import KeySource
from cryptors.memory import WrittenFile
from licensing.content_key import key_id, new_content_key
from licensing.errors import ModelNotLicensedError, OutputExistsError, WeightlockError
from tests.command_line import here
from tests.cryptors.containers import CONTENT_KEY
from tests.cryptors.onnx_setting import MATMUL, ONNX, OUTPUT, V, W, X
from tests.licensed_box import LicensedBox
from tests.onnx_models import inside, write_graph


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A model of two products, locked."""
    model = write_graph(tmp_path / "m.onnx", MATMUL, [inside("w", W), inside("v", V)], {"x": X}, OUTPUT)
    ONNX.encrypt(model, CONTENT_KEY, tmp_path / "m.onnx.locked")
    return tmp_path / "m.onnx.locked"


def expected(locked: Path) -> bytes:
    return bytes(load_model(locked, crypt_key=CONTENT_KEY).run(None, {"x": X})[0].tobytes())


def optimiser(locked: Path, calls: list[str], **key: Any) -> Any:
    """Returns what writes ONNX Runtime's optimised model to a path, and remembers the path."""

    def make(path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = path
        load_model(locked, sess_options=options, **key)
        calls.append(path)

    return make


def test_optimised_model_opens_with_the_license_of_its_model(
    locked: Path, tmp_path: Path, licensed_box: LicensedBox
) -> None:
    license = licensed_box.license(tmp_path / "acme.lic", [(read_header(locked), CONTENT_KEY)])
    key, derived, calls = licensed_box.unlocking(license), tmp_path / "opt.locked", list[str]()
    make = optimiser(locked, calls, **key)
    for _ in range(3):
        session = load_derived(locked, make, derived, **key)
        assert session.run(None, {"x": X})[0].tobytes() == expected(locked)
    assert len(calls) == 1, "made once, and loaded twice"
    assert calls[0].startswith("/proc/self/fd/")
    header = read_header(derived)
    assert header.parent is not None
    assert (header.parent.model_id, header.parent.key_id) == (read_header(locked).model_id, key_id(CONTENT_KEY))
    assert header.model_id != header.parent.model_id
    assert (header.name, header.model_type) == ("m.onnx", "onnx")
    assert load_model(derived, **key).run(None, {"x": X})[0].tobytes() == expected(locked)
    assert ONNX.decrypt(derived, CONTENT_KEY) == ONNX.decrypt(derived, **key)
    onnx.checker.check_model(ONNX.decrypt(derived, CONTENT_KEY))


def test_key_is_not_that_of_the_model(locked: Path, tmp_path: Path) -> None:
    data = ONNX.decrypt(locked, CONTENT_KEY)
    keys = []
    for number in range(2):
        derived = tmp_path / f"{number}.locked"
        header = lock_derived(locked, data, derived, CONTENT_KEY)
        keys.append(KeySource(CONTENT_KEY).content_key(derived))
        assert header.key_id == key_id(keys[-1])
    assert len({*keys, CONTENT_KEY}) == 3, "each derived model has a key of its own"
    other = ONNX.encrypt(tmp_path / "m.onnx", keys[0], tmp_path / "other.locked")
    assert other.key_id != read_header(locked).key_id
    with pytest.raises(KeyMismatchError):
        load_model(locked, crypt_key=keys[0])


def test_license_for_another_model_does_not_open_it(locked: Path, tmp_path: Path, licensed_box: LicensedBox) -> None:
    lock_derived(locked, ONNX.decrypt(locked, CONTENT_KEY), tmp_path / "opt.locked", CONTENT_KEY)
    key = new_content_key()
    header = ONNX.encrypt(tmp_path / "m.onnx", key, tmp_path / "other.locked")
    license = licensed_box.license(tmp_path / "other.lic", [(header, key)])
    with pytest.raises(ModelNotLicensedError):
        load_model(tmp_path / "opt.locked", **licensed_box.unlocking(license))
    with pytest.raises(KeyMismatchError):
        load_model(tmp_path / "opt.locked", crypt_key=key)


def test_parent_in_the_header_is_authenticated(locked: Path, tmp_path: Path) -> None:
    derived = tmp_path / "opt.locked"
    header = lock_derived(locked, ONNX.decrypt(locked, CONTENT_KEY), derived, CONTENT_KEY)
    assert header.parent is not None
    changed = header.parent.model_id[:-1] + ("0" if header.parent.model_id[-1] != "0" else "1")
    derived.write_bytes(derived.read_bytes().replace(header.parent.model_id.encode(), changed.encode()))
    with pytest.raises(KeyMismatchError):
        load_model(derived, crypt_key=CONTENT_KEY)


def test_what_is_made_from_a_derived_model_has_the_same_parent(locked: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1.locked", tmp_path / "2.locked"
    lock_derived(locked, ONNX.decrypt(locked, CONTENT_KEY), first, CONTENT_KEY)
    lock_derived(first, ONNX.decrypt(first, CONTENT_KEY), second, CONTENT_KEY)
    assert read_header(second).parent == read_header(first).parent
    assert load_model(second, crypt_key=CONTENT_KEY).run(None, {"x": X})[0].tobytes() == expected(locked)


@pytest.mark.parametrize("state", ["another model's", "damaged", "no locked model", "not accepted"])
def test_made_again_where_it_cannot_be_used(locked: Path, tmp_path: Path, state: str) -> None:
    derived, calls = tmp_path / "opt.locked", list[str]()
    if state == "another model's":
        other = tmp_path / "other.locked"
        ONNX.encrypt(tmp_path / "m.onnx", CONTENT_KEY, other)
        lock_derived(other, ONNX.decrypt(other, CONTENT_KEY), derived, CONTENT_KEY)
    elif state == "damaged":
        lock_derived(locked, ONNX.decrypt(locked, CONTENT_KEY), derived, CONTENT_KEY)
        derived.write_bytes(derived.read_bytes()[:-1] + b"\0")
    elif state == "no locked model":
        derived.write_text("anything")
    else:
        broken = onnx.load_from_string(ONNX.decrypt(locked, CONTENT_KEY))
        broken.graph.node[0].op_type = "NoSuchOperator"
        lock_derived(locked, broken.SerializeToString(), derived, CONTENT_KEY)
    make = optimiser(locked, calls, crypt_key=CONTENT_KEY)
    session = load_derived(locked, make, derived, CONTENT_KEY)
    assert session.run(None, {"x": X})[0].tobytes() == expected(locked)
    assert len(calls) == 1
    load_derived(locked, make, derived, CONTENT_KEY)
    assert len(calls) == 1


def test_refused_license_makes_nothing(locked: Path, tmp_path: Path, licensed_box: LicensedBox) -> None:
    key = new_content_key()
    header = ONNX.encrypt(tmp_path / "m.onnx", key, tmp_path / "other.locked")
    license = licensed_box.license(tmp_path / "other.lic", [(header, key)])
    calls: list[str] = []
    with pytest.raises(ModelNotLicensedError):
        load_derived(locked, calls.append, tmp_path / "opt.locked", **licensed_box.unlocking(license))
    assert calls == []
    assert not (tmp_path / "opt.locked").exists()


def test_maker_that_fails_leaves_nothing(locked: Path, tmp_path: Path) -> None:
    def make(path: str) -> None:
        Path(path).write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lock_derived(locked, make, tmp_path / "opt.locked", CONTENT_KEY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.onnx.locked"]


def test_artefact_of_no_known_type(locked: Path, tmp_path: Path) -> None:
    for artefact, kind in ((b"anything", None), (b"anything", "onnx")):
        with pytest.raises(ModelTypeError):
            lock_derived(locked, artefact, tmp_path / "opt.locked", CONTENT_KEY, model_type=kind)
    with pytest.raises(CryptorError, match="empty"):
        lock_derived(locked, b"", tmp_path / "opt.locked", CONTENT_KEY)
    assert not (tmp_path / "opt.locked").exists()


def test_existing_file_is_kept_unless_asked(locked: Path, tmp_path: Path) -> None:
    data = ONNX.decrypt(locked, CONTENT_KEY)
    (tmp_path / "opt.locked").write_text("mine")
    with pytest.raises(OutputExistsError):
        lock_derived(locked, data, tmp_path / "opt.locked", CONTENT_KEY)
    assert (tmp_path / "opt.locked").read_text() == "mine"
    lock_derived(locked, data, tmp_path / "opt.locked", CONTENT_KEY, options=EncryptOptions(replace=True))
    with pytest.raises(WeightlockError):
        lock_derived(locked, data, locked, CONTENT_KEY, options=EncryptOptions(replace=True))
    with pytest.raises(ModelMalformedError):
        lock_derived(tmp_path / "m.onnx", data, tmp_path / "2.locked", CONTENT_KEY)


def test_tensorrt_engine_built_from_a_locked_model(locked: Path, tmp_path: Path) -> None:
    """The engine is no real one: the way of its bytes is what this shows."""
    plan = b"ftrt" + np.arange(5000, dtype=np.uint16).tobytes()
    header = lock_derived(locked, memoryview(bytearray(plan)), tmp_path / "m.plan.locked", CONTENT_KEY)
    assert header.model_type == "tensorrt"
    with WrittenFile() as memory:
        memory.write(plan)
        assert Path(memory.path).read_bytes() == plan


def test_vendor_opens_it_and_inspect_shows_where_it_comes_from(tmp_path: Path) -> None:
    write_graph(tmp_path / "m.onnx", MATMUL, [inside("w", W), inside("v", V)], {"x": X}, OUTPUT)
    vendor, locked, derived = tmp_path / "vendor", tmp_path / "m.locked", tmp_path / "opt.locked"
    here("vendor", "init", "--name", "Löwe AI", "--home", vendor)
    here("encrypt", tmp_path / "m.onnx", "-o", locked, "--home", vendor).done()
    here("request", "-o", tmp_path / "box.req", "--gpu", "none", "--home", tmp_path / "customer").done()
    terms = ("--customer", "Acme", "--days", "30", "--allow-no-gpu", "--home", vendor)
    here("issue", tmp_path / "box.req", "-m", locked, *terms, "-o", tmp_path / "acme.lic").done()
    trust, home = vendor / "trust.jwks", tmp_path / "customer"
    key: dict[str, Any] = {"license": tmp_path / "acme.lic", "trust": trust, "home": home}
    lock_derived(locked, (tmp_path / "m.onnx").read_bytes(), derived, **key)
    model_id = read_header(locked).model_id
    assert here("inspect", derived, "--json").done().facts["parent"]["model_id"] == model_id
    assert f"made from  {model_id}" in here("inspect", derived).done().stdout
    here("decrypt", derived, "-o", tmp_path / "again.onnx", "--home", vendor).done()
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
    np.savez(tmp_path / "x.npz", x=X)
    options = ("--license", key["license"], "--trust", key["trust"], "--home", key["home"])
    here("run", derived, *options, "--input", tmp_path / "x.npz", "--output", tmp_path / "y.npz").done()
    shown = here("inspect", derived, *options, "--json").done().facts
    assert [each["name"] for each in shown["inputs"]] == ["x"]
