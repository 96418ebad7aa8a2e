"""The device key in a TPM: it works in the TPM that made it, in no other, and does not come out of it."""

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from licensing.device_key import (
    create_device_key,
    device_key_path,
    open_device_key,
    tpm_device_key_path,
    wrap_secret,
)
from licensing.encoding import b64url_encode
from licensing.errors import LicensingError, MalformedError
from licensing.strict_json import canonical
from licensing.tpm import TCTI_VARIABLE, check_tcti, open_tpm
from licensing.tpm_device_key import TpmDeviceKey, TpmKeyFile, create_tpm_device_key, open_tpm_device_key
from licensing.tpm_structures import DEVICE_KEY_TEMPLATE
from tests.lock_scene import MACHINE, OTHER_MACHINE
from tests.software_tpm import SoftwareTpm, TpmFactory

SECRET = bytes(range(32))


@pytest.fixture(scope="module")
def home(software_tpm: SoftwareTpm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a home with a device key in the TPM. Tests write nothing into it."""
    home = tmp_path_factory.mktemp("tpm") / "home"
    create_tpm_device_key(home, software_tpm.tcti)
    return home


@pytest.fixture(scope="module")
def other_key(software_tpm: SoftwareTpm, tmp_path_factory: pytest.TempPathFactory) -> RSAPublicKey:
    """Returns another key of the same TPM."""
    return create_tpm_device_key(tmp_path_factory.mktemp("stranger"), software_tpm.tcti).public_key


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Path:
    """Returns a copy of that home."""
    return shutil.copytree(home, tmp_path / "copied")


def members(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tpm_device_key_path(home).read_bytes())
    return found


def refused(call: Callable[[], object]) -> LicensingError:
    with pytest.raises(LicensingError) as refusal:
        call()
    return refusal.value


# Making and using.


def test_the_home_opens_with_the_key_of_its_tpm(home: Path) -> None:
    for machine in (MACHINE, OTHER_MACHINE):  # The TPM is what the key is bound to; licenses bind to the machine.
        key = open_device_key(home, machine, for_signing=True)
        assert isinstance(key, TpmDeviceKey)
        assert (key.tier, key.public_key.key_size) == ("tpm", 2048)
        assert key.unwrap_secret(wrap_secret(key.public_key, SECRET)) == SECRET
    assert repr(key) == f"TpmDeviceKey(tier='tpm', thumbprint='{key.thumbprint}')"


def test_home_and_file_are_the_owners_alone(home: Path) -> None:
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE(tpm_device_key_path(home).stat().st_mode) == 0o600
    assert not device_key_path(home).exists()


def test_the_authentication_key_stays_the_same_and_differs_by_purpose(home: Path, software_tpm: SoftwareTpm) -> None:
    first, second = (open_device_key(home, MACHINE) for _ in range(2))
    assert first.authentication_key("a") == second.authentication_key("a")
    assert first.authentication_key("a") != first.authentication_key("b")
    assert len(first.authentication_key("a")) == 32


def test_the_tpms_clock_goes_forward(home: Path) -> None:
    first, second = (open_device_key(home, MACHINE).clock() for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.milliseconds <= second.milliseconds
    assert (first.reset_count, first.restart_count) == (second.reset_count, second.restart_count)


def test_nothing_stays_loaded_in_the_tpm(home: Path, software_tpm: SoftwareTpm, other_key: RSAPublicKey) -> None:
    """A TPM without a resource manager has room for three objects: the fourth use would be refused."""
    key = open_device_key(home, MACHINE)
    for _ in range(5):
        assert key.unwrap_secret(wrap_secret(key.public_key, SECRET)) == SECRET
        refused(lambda: key.unwrap_secret(wrap_secret(other_key, SECRET)))
    with open_tpm(software_tpm.tcti) as tpm:
        for kind in (0x80000000, 0x02000000, 0x03000000):  # Objects, HMAC sessions, policy sessions.
            _, listed = tpm._context.get_capability(tpm._library.TPM2_CAP.HANDLES, kind, 10)
            assert [handle for handle in listed.data.handles if int(handle) >> 24 == kind >> 24] == []


def test_threads_use_one_key_at_the_same_time(home: Path) -> None:
    key = open_device_key(home, MACHINE)
    secrets = [bytes([number]) * 32 for number in range(16)]
    with ThreadPoolExecutor(8) as threads:
        unwrapped = threads.map(lambda secret: key.unwrap_secret(wrap_secret(key.public_key, secret)), secrets)
        assert list(unwrapped) == secrets


# What does not open.


def test_another_tpm_refuses_a_copied_home(
    copied: Path, other_tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = open_device_key(copied, MACHINE)
    wrapped = wrap_secret(key.public_key, SECRET)
    monkeypatch.setenv(TCTI_VARIABLE, other_tpm.tcti)
    elsewhere = open_device_key(copied, MACHINE)
    for call in (lambda: elsewhere.unwrap_secret(wrapped), lambda: elsewhere.authentication_key("time-state")):
        error = refused(call)
        assert error.reason == "device_key_mismatch"
        assert "another TPM" in error.message
    assert elsewhere.thumbprint == key.thumbprint
    monkeypatch.delenv(TCTI_VARIABLE)
    assert open_device_key(copied, MACHINE).unwrap_secret(wrapped) == SECRET


@pytest.mark.slow
def test_limit_a_copied_state_of_a_software_tpm_is_the_same_tpm(
    copied: Path, tpm_factory: TpmFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is why vendors ask whose certificate a TPM has: a chip gives its state to nobody."""
    first = tpm_factory.new("to be copied")
    home = tmp_path / "in the first"
    key = create_tpm_device_key(home, first.tcti)
    twin = tpm_factory.start(shutil.copytree(first.state, tmp_path / "state"))
    monkeypatch.setenv(TCTI_VARIABLE, twin.tcti)
    assert open_device_key(home, MACHINE).unwrap_secret(wrap_secret(key.public_key, SECRET)) == SECRET


def test_a_secret_for_another_key_is_refused(home: Path, other_key: RSAPublicKey) -> None:
    key = open_device_key(home, MACHINE)
    for wrapped in (wrap_secret(other_key, SECRET), bytes(256), wrap_secret(key.public_key, SECRET[:-1])):
        error = refused(lambda wrapped=wrapped: key.unwrap_secret(wrapped))  # type: ignore[misc]
        assert (error.reason, error.message) == (
            "device_key_mismatch",
            "the license was issued for another device key",
        )


def test_the_key_does_not_come_out_of_the_tpm(home: Path, software_tpm: SoftwareTpm) -> None:
    """TPM2_Duplicate is the one command that gives a private half out, and it asks for a policy that this key lacks."""
    key = open_device_key(home, MACHINE)
    assert isinstance(key, TpmDeviceKey)
    with open_tpm(software_tpm.tcti) as tpm:
        loaded = key.load(tpm)
        types = tpm._library
        policy = tpm._context.start_auth_session(
            *(types.ESYS_TR.NONE, types.ESYS_TR.NONE, types.TPM2_SE.POLICY),
            *(types.TPMT_SYM_DEF(algorithm=types.TPM2_ALG.NULL), types.TPM2_ALG.SHA256),
        )
        tpm._context.policy_command_code(policy, types.TPM2_CC.Duplicate)
        nothing = types.TPMT_SYM_DEF_OBJECT(algorithm=types.TPM2_ALG.NULL)
        for session in (policy, types.ESYS_TR.PASSWORD):
            with pytest.raises(types.TSS2_Exception, match=r"policy check failed|handle is not correct"):
                tpm._context.duplicate(loaded, types.ESYS_TR.NULL, None, nothing, session1=session)
        tpm._context.flush_context(policy)
        scheme = types.TPMT_SIG_SCHEME(scheme=types.TPM2_ALG.RSAPSS)
        scheme.details.any.hashAlg = types.TPM2_ALG.SHA256
        ticket = types.TPMT_TK_HASHCHECK(tag=types.TPM2_ST.HASHCHECK, hierarchy=types.TPM2_RH.NULL)
        with pytest.raises(
            types.TSS2_Exception, match="not compatible with the selected use"
        ):  # Nor does it sign what could pass for a request.
            tpm._context.sign(loaded, types.TPM2B_DIGEST(bytes(32)), scheme, ticket)


def test_an_exportable_key_in_the_place_of_the_device_key_is_refused(copied: Path, software_tpm: SoftwareTpm) -> None:
    """A key without fixedTPM and fixedParent, of the same TPM, whose file says what it is."""
    exportable = DEVICE_KEY_TEMPLATE[:4] + bytes.fromhex("00020460") + DEVICE_KEY_TEMPLATE[8:]
    with open_tpm(software_tpm.tcti) as tpm:
        public_area, private = tpm.create(tpm.storage_key(), exportable)
    file = {**members(copied), "public": b64url_encode(public_area), "private": b64url_encode(private)}
    tpm_device_key_path(copied).write_bytes(canonical(file))
    assert refused(lambda: open_device_key(copied, MACHINE)).reason == "device_key_mismatch"
    # And if the file calls it what it is not, the TPM notices.
    claimed = public_area[:4] + DEVICE_KEY_TEMPLATE[4:8] + public_area[8:]
    tpm_device_key_path(copied).write_bytes(canonical({**file, "public": b64url_encode(claimed)}))
    key = open_device_key(copied, MACHINE)
    error = refused(lambda: key.unwrap_secret(wrap_secret(key.public_key, SECRET)))
    assert error.reason == "device_key_mismatch"


# The file.

WRONG: dict[str, list[Any]] = {
    "version": [None, 0, 2, "1", True],
    "tcti": [None, "", 1, "device\n", "libevil.so", "/tmp/evil.so:x", "swtpm:" + "x" * 300, "cmd:evil"],
    "public": [None, "", "AAAA", 1],
    "private": [None, "", 1, "A" * 1400, "A=="],
    "authentication": [None, "", "AAAA", 1],
    "more": [1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_member_that_is_missing_or_wrong(name: str, value: Any, copied: Path) -> None:
    file = {each: kept for each, kept in {**members(copied), name: value}.items() if kept is not None}
    with pytest.raises(MalformedError):
        TpmKeyFile.parse(canonical(file))
    tpm_device_key_path(copied).write_bytes(canonical(file))
    assert refused(lambda: open_device_key(copied, MACHINE)).reason == "device_key_mismatch"


def test_only_the_one_form_of_the_file_is_read(copied: Path) -> None:
    data = tpm_device_key_path(copied).read_bytes()
    assert TpmKeyFile.parse(data).to_bytes() == data
    for wrong in (b"", b"{}", data + b"\n", b" " + data, data[:-1], data.replace(b":", b": ", 1), b" " * 20_000):
        tpm_device_key_path(copied).write_bytes(wrong)
        assert refused(lambda: open_device_key(copied, MACHINE)).reason == "device_key_mismatch"


def test_nothing_secret_is_in_the_file(home: Path) -> None:
    key = open_device_key(home, MACHINE)
    text = tpm_device_key_path(home).read_bytes()
    assert b64url_encode(key.authentication_key("time-state")).encode() not in text
    assert set(members(home)) == {"version", "tcti", "public", "private", "authentication"}


# One home, one key.


@pytest.mark.usefixtures("quick_keys")
def test_a_home_with_two_device_keys_is_refused(copied: Path, software_tpm: SoftwareTpm, tmp_path: Path) -> None:
    create_device_key(tmp_path / "software", MACHINE)
    shutil.copy(device_key_path(tmp_path / "software"), copied)
    error = refused(lambda: open_device_key(copied, MACHINE))
    assert error.reason == "device_key_ambiguous"
    assert "move the one that no license is bound to" in error.hints[0]


@pytest.mark.usefixtures("quick_keys")
def test_a_key_of_either_kind_is_replaced_only_if_that_is_wanted(
    copied: Path, software_tpm: SoftwareTpm, tmp_path: Path
) -> None:
    before = tpm_device_key_path(copied).read_bytes()
    for make in (lambda: create_tpm_device_key(copied, software_tpm.tcti), lambda: create_device_key(copied, MACHINE)):
        assert refused(make).reason == "device_key_exists"
        assert tpm_device_key_path(copied).read_bytes() == before
        assert not device_key_path(copied).exists()
    software = create_device_key(copied, MACHINE, replace=True)
    assert open_device_key(copied, MACHINE).thumbprint == software.thumbprint
    assert (copied / "device-key-tpm.json.old-1").read_bytes() == before
    tpm = create_tpm_device_key(copied, software_tpm.tcti, replace=True)
    assert open_device_key(copied, MACHINE).thumbprint == tpm.thumbprint
    assert (copied / "device-key.pem.old-1").exists()


# The way to the TPM.


@pytest.mark.parametrize(
    "tcti", ["swtpm:path=/nowhere/sock", "device:/dev/null/tpm", "device:/etc/hostname", "mssim:port=1"]
)
def test_a_tpm_that_is_not_there(tcti: str, copied: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    key = open_tpm_device_key(tpm_device_key_path(copied), tcti)
    for call in (lambda: key.unwrap_secret(bytes(256)), key.clock, lambda: create_tpm_device_key(tmp_path / "h", tcti)):
        error = refused(call)
        assert error.reason == "tpm_unavailable"
        assert error.hints
    assert not tpm_device_key_path(tmp_path / "h").exists()
    assert capfd.readouterr().err == ""  # The TSS would tell its own story there.


@pytest.mark.parametrize("tcti", ["", "nothing", "/tmp/libevil.so", "libtss2-tcti-device.so.0:/dev/tpm0", "device:\n"])
def test_what_names_no_tpm_is_not_handed_on(tcti: str) -> None:
    assert refused(lambda: check_tcti(tcti)).reason == "usage"


def test_the_missing_package_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tpm2_pytss", None)
    error = refused(open_device_key(home, MACHINE).clock)
    assert error.reason == "tpm_library_missing"
    assert "pip install 'weightlock[tpm]'" in error.hints[0]


def test_the_environment_names_another_way_to_the_tpm(
    copied: Path, software_tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = {**members(copied), "tcti": "device:/dev/tpm-of-long-ago"}
    tpm_device_key_path(copied).write_bytes(canonical(file))
    key = open_device_key(copied, MACHINE)
    wrapped = wrap_secret(key.public_key, SECRET)
    assert refused(lambda: key.unwrap_secret(wrapped)).reason == "tpm_unavailable"
    monkeypatch.setenv(TCTI_VARIABLE, software_tpm.tcti)
    assert open_device_key(copied, MACHINE).unwrap_secret(wrapped) == SECRET
    monkeypatch.setenv(TCTI_VARIABLE, "libevil.so")
    assert refused(lambda: open_device_key(copied, MACHINE)).reason == "usage"


def test_the_homes_other_files_stay(home: Path) -> None:
    assert sorted(os.listdir(home)) == ["device-key-tpm.json", "time-state.json"]
