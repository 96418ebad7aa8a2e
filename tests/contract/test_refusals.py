"""What every cryptor refuses, each with its reason: a caller can tell what is wrong without reading the sentence."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptors import Cryptor, CryptorFactory, load_model
from licensing.content_key import new_content_key
from licensing.errors import WeightlockError
from tests.command_line import ROOT, here
from tests.contract.cases import CASES
from tests.contract.subject import Subject

# PyTorch deprecates TorchScript, which users have all the same.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")]


def assert_refused(reason: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    with pytest.raises(WeightlockError) as caught:
        call(*arguments, **options)
    assert caught.value.reason == reason, caught.value


def assert_never_opens(reason: str, subject: Subject, locked: Path, **options: Any) -> None:
    """Asserts that none of the ways to open a locked model opens this one."""
    options = {**subject.case.options, **options}
    for call in (subject.cryptor.decrypt, subject.cryptor.load, load_model):
        assert_refused(reason, call, locked, **options)


def others(subject: Subject) -> list[Cryptor]:
    """Returns the cryptors of all other types."""
    supported = {case.model_type for case in CASES}
    return [CryptorFactory.instance(each) for each in supported if each is not subject.case.model_type]


def test_wrong_content_key(tiny: Subject) -> None:
    assert_never_opens("key_mismatch", tiny, tiny.locked, crypt_key=new_content_key())


def test_license_for_another_model(tiny: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_content_key()
    other = tiny.cryptor.encrypt(tiny.plaintext, key, tmp_path / "other.locked")
    license = tiny.box.license(tmp_path / "other.lic", [(other, key)])
    assert_never_opens("model_not_licensed", tiny, tiny.locked, **tiny.box.unlocking(license))

    monkeypatch.setattr("licensing.unlock.read_hardware", lambda: tiny.box.hardware)
    np.savez(tmp_path / "x.npz", **tiny.case.inputs(tiny.width))
    files = ("--input", str(tmp_path / "x.npz"), "--output", str(tmp_path / "y.npz"))
    options = (*tiny.box.arguments(license), *files, *tiny.case.run_arguments(tiny.width), "--json")
    expected = (3, "model_not_licensed") if tiny.case.run else (4, "model_type_mismatch")
    here("run", tiny.locked, *options).refused(*expected)
    assert not (tmp_path / "y.npz").exists()


@pytest.mark.parametrize("where", ["stream header", "salt", "first segment", "middle", "last byte"])
def test_changed_byte(wide: Subject, tmp_path: Path, where: str) -> None:
    data = bytearray(wide.locked.read_bytes())
    payload = wide.header.payload_offset
    places = {
        "stream header": payload,
        "salt": payload + 1,
        "first segment": payload + 1000,
        "middle": (payload + len(data)) // 2,
        "last byte": len(data) - 1,
    }
    data[places[where]] ^= 1
    (tmp_path / "changed.locked").write_bytes(data)
    assert_never_opens("model_damaged", wide, tmp_path / "changed.locked", crypt_key=wide.content_key)


@pytest.mark.parametrize("change", [-1, 1], ids=["shorter", "longer"])
def test_changed_length(tiny: Subject, tmp_path: Path, change: int) -> None:
    data = tiny.locked.read_bytes()
    (tmp_path / "changed.locked").write_bytes(data[:change] if change < 0 else data + bytes(change))
    assert_never_opens("model_damaged", tiny, tmp_path / "changed.locked", crypt_key=tiny.content_key)


def test_run_refuses_a_changed_model(wide: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licensing.unlock.read_hardware", lambda: wide.box.hardware)
    data = bytearray(wide.locked.read_bytes())
    data[-1] ^= 1
    (tmp_path / "changed.locked").write_bytes(data)
    np.savez(tmp_path / "x.npz", **wide.case.inputs(wide.width))
    files = ("--input", str(tmp_path / "x.npz"), "--output", str(tmp_path / "y.npz"))
    options = (*wide.box.arguments(wide.license), *files, *wide.case.run_arguments(wide.width), "--json")
    reason = "model_damaged" if wide.case.run else "model_type_mismatch"
    here("run", tmp_path / "changed.locked", *options).refused(4, reason)
    assert not (tmp_path / "y.npz").exists()


def test_cryptor_of_another_type_opens_nothing(tiny: Subject) -> None:
    for cryptor in others(tiny):
        assert_refused("model_type_mismatch", cryptor.decrypt, tiny.locked, tiny.content_key)
        assert_refused("model_type_mismatch", cryptor.load, tiny.locked, tiny.content_key)


def test_cryptor_of_another_type_locks_nothing(tiny: Subject, tmp_path: Path) -> None:
    for cryptor in (each for each in others(tiny) if each.model_type not in tiny.case.also):
        locked = tmp_path / "model.locked"
        assert_refused("model_type_mismatch", cryptor.encrypt, tiny.plaintext, tiny.content_key, locked)
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_kept(tiny: Subject, tmp_path: Path) -> None:
    (tmp_path / "model.locked").write_text("mine")
    locked = tmp_path / "model.locked"
    assert_refused("output_exists", tiny.cryptor.encrypt, tiny.plaintext, tiny.content_key, locked)
    assert locked.read_text() == "mine"


def test_unknown_option_is_not_ignored(tiny: Subject) -> None:
    assert_never_opens("usage", tiny, tiny.locked, crypt_key=tiny.content_key, colour="green")


def test_a_key_or_a_license_and_not_both(tiny: Subject) -> None:
    assert_never_opens("usage", tiny, tiny.locked)
    assert_never_opens("usage", tiny, tiny.locked, crypt_key=tiny.content_key, license=tiny.license)


@pytest.fixture(scope="module")
def without() -> "Iterator[subprocess.Popen[str]]":
    """Returns the process of without_program.py: in this one frameworks are imported already."""
    command = [sys.executable, "-m", "tests.contract.without_program"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        yield process


def test_missing_framework(tiny: Subject, tmp_path: Path, without: "subprocess.Popen[str]") -> None:
    assert without.stdin
    assert without.stdout
    (tmp_path / "key").write_bytes(tiny.content_key)
    for module, extra in tiny.case.needs.items():
        job = [module, str(tiny.locked), str(tmp_path / "key"), tiny.case.options]
        without.stdin.write(json.dumps(job) + "\n")
        without.stdin.flush()
        reason, code, message, hints = json.loads(without.stdout.readline())
        assert (reason, code) == ("framework_missing", 5)
        assert message == f"this model needs {module}, which is not installed"
        assert hints == [f"install it with: pip install 'weightlock[{extra}]'"]
