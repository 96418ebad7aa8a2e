"""Licenses and their files: every claim as it must be, grants that fit, and nothing that a later version meant."""

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from licensing.encoding import MAX_EPOCH
from licensing.errors import ClaimsUnsupportedError, LicenseMalformedError
from licensing.license import License, LicenseFile, read_claims
from licensing.policy import Policy
from licensing.strict_json import canonical
from tests.lock_scene import GPU, NOW, OTHER_GPU, Scene, signed_again
from tests.raw_jws import b64, from_b64

UUID = "7b3959d8-24e1-4f26-80c3-57c084d417de"

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def file(lock_scene: Scene) -> bytes:
    """Returns the file of a license with two models and two slots."""
    return lock_scene.issue(*lock_scene.models, box=lock_scene.box.with_gpus(GPU, OTHER_GPU), features=("training",))


@pytest.fixture
def claims(file: bytes) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(from_b64(json.loads(file)["license"].split(".")[1]))
    return members


def read(data: bytes) -> License:
    return read_claims(LicenseFile.parse(data))


def refused(data: bytes) -> LicenseMalformedError:
    with pytest.raises(LicenseMalformedError) as refusal:
        read(data)
    assert refusal.value.reason in ("license_malformed", "license_unsupported")
    return refusal.value


# What a license says.


def test_all_claims_are_read(file: bytes, claims: dict[str, Any], lock_scene: Scene) -> None:
    license = read(file)
    assert (license.license_id, license.vendor, license.customer) == (claims["jti"], "Löwe AI", "Acme")
    assert (license.issued, license.tier, license.features, license.policy) == (
        NOW,
        "software",
        ("training",),
        Policy(),
    )
    assert license.not_before == datetime(2026, 7, 1, 11, 0, tzinfo=timezone.utc)
    assert license.expires == datetime(2026, 7, 31, 12, 0, tzinfo=timezone.utc)
    assert license.device_thumbprint == lock_scene.box.device_key.thumbprint
    assert [model.model_id for model in license.models] == [model.model_id for model in lock_scene.models]
    assert [slot.slot_id for slot in license.slots] == ["slot-1", "slot-2"]
    assert (len(license.salt), len(license.wrapped_secret)) == (16, 384)


def test_a_model_is_found_by_its_whole_id(file: bytes, lock_scene: Scene) -> None:
    license = read(file)
    found = license.model(lock_scene.models[1].model_id)
    assert found is not None
    assert (found.key_id, found.name) == (lock_scene.models[1].key_id, "minilm")
    assert license.model(UUID) is None
    assert license.model(lock_scene.models[1].model_id[:-1]) is None


def test_a_slot_is_shown_with_its_gpu_or_as_a_machine(file: bytes, lock_scene: Scene) -> None:
    first = read(file).slots[0]
    assert first.label == f"{GPU.label} in {first.machine_label}"
    alone = read(lock_scene.issue(box=lock_scene.box.with_gpus(), allow_no_gpu=True)).slots[0]
    assert (alone.label, alone.gpu_digest, alone.gpu_label) == (alone.machine_label, None, None)


def test_a_file_is_written_back_as_it_was(file: bytes) -> None:
    assert LicenseFile.parse(file).to_bytes() == file
    spaced = json.dumps(json.loads(file), indent=2).encode()
    assert LicenseFile.parse(spaced).to_bytes() == file


# Claims.

WRONG_CLAIMS: dict[str, list[Any]] = {
    "ver": [None, "1", True, -1],
    "iss": [None, "", 1, "a\nb", "a" * 201],
    "sub": [None, "", ["Acme"], "\x7f", "a" * 201],
    "jti": [None, UUID.upper(), UUID[:-1], "license 1"],
    "iat": [None, -1, MAX_EPOCH + 1, "0", True],
    "nbf": [None, -1, MAX_EPOCH + 1, "0", True],
    "exp": [None, -1, MAX_EPOCH + 1, "0", True, 0],
    "cnf": [None, {}, [], {"jkt": "A" * 42}, {"jkt": "A" * 44}, {"jkt": "A" * 42 + "+"}, {"jkt": 1}],
    "tier": [None, "", "hardware", "TPM", "software|tpm"],
    "salt": [None, "", b64(bytes(15)), b64(bytes(17)), b64(bytes(16)) + "=", "A" * 21 + "B", 1],
    "slots": [None, [], {}, [1], [{}]],
    "models": [None, [], {}, [1], [{}]],
    "features": [None, {}, "training", [1], [""], ["a\nb"], ["a"] * 1001],
    "policy": [None, [], "", 1],
    "secret": [None, "", b64(bytes(255)), b64(bytes(513)), b64(bytes(384)) + "=", "+" * 512],
    "generator": [None, "", 1, "a" * 201],
    "crit": [[], {}, "exp", [1], [""], ["exp"] * 101],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_CLAIMS.items() for value in values]
)
def test_a_claim_that_is_missing_or_wrong(
    name: str, value: Any, file: bytes, claims: dict[str, Any], lock_scene: Scene
) -> None:
    read(signed_again(file, lock_scene.signing_key, **{name: claims.get(name)}))
    error = refused(signed_again(file, lock_scene.signing_key, **{name: value}))
    assert (type(error), error.reason) == (LicenseMalformedError, "license_malformed")


def test_the_earliest_and_the_latest_times_are_accepted(file: bytes, lock_scene: Scene) -> None:
    license = read(signed_again(file, lock_scene.signing_key, iat=0, nbf=0, exp=MAX_EPOCH))
    assert (license.not_before.year, license.expires.year) == (1970, 9999)


@pytest.mark.parametrize(("begin", "end"), [(5, 5), (6, 5), (MAX_EPOCH, MAX_EPOCH)])
def test_a_license_that_never_holds_is_refused(begin: int, end: int, file: bytes, lock_scene: Scene) -> None:
    read(signed_again(file, lock_scene.signing_key, nbf=4, exp=5))
    assert "ends before it begins" in refused(signed_again(file, lock_scene.signing_key, nbf=begin, exp=end)).message


SLOT_CHANGES: dict[str, Change] = {
    "no id": lambda slot: slot.pop("id"),
    "an id without a number": lambda slot: slot.update(id="slot-"),
    "the number 0": lambda slot: slot.update(id="slot-0"),
    "a leading zero": lambda slot: slot.update(id="slot-01"),
    "the number 1000": lambda slot: slot.update(id="slot-1000"),
    "a digit of another script": lambda slot: slot.update(id="slot-١"),
    "a line break": lambda slot: slot.update(id="slot-1\n"),
    "no machine": lambda slot: slot.pop("machine"),
    "a machine that is a text": lambda slot: slot.update(machine="gpu-box-1"),
    "a machine without a digest": lambda slot: slot["machine"].pop("digest"),
    "a machine without a label": lambda slot: slot["machine"].pop("label"),
    "a machine's digest of 31 bytes": lambda slot: slot["machine"].update(digest=b64(bytes(31))),
    "a machine's digest of 33 bytes": lambda slot: slot["machine"].update(digest=b64(bytes(33))),
    "a machine's label of 201 characters": lambda slot: slot["machine"].update(label="a" * 201),
    "a GPU that is null": lambda slot: slot.update(gpu=None),
    "a GPU without a digest": lambda slot: slot["gpu"].pop("digest"),
    "a GPU without a label": lambda slot: slot["gpu"].pop("label"),
    "a GPU's digest of 31 bytes": lambda slot: slot["gpu"].update(digest=b64(bytes(31))),
    "a GPU's digest in hexadecimal": lambda slot: slot["gpu"].update(digest="5c" * 32),
    "a GPU's label of 251 characters": lambda slot: slot["gpu"].update(label="a" * 251),
}


@pytest.mark.parametrize("change", SLOT_CHANGES.values(), ids=SLOT_CHANGES)
def test_a_slot_that_is_not_as_it_must_be(
    change: Change, file: bytes, claims: dict[str, Any], lock_scene: Scene
) -> None:
    change(claims["slots"][0])
    assert refused(signed_again(file, lock_scene.signing_key, slots=claims["slots"])).reason == "license_malformed"


@pytest.mark.parametrize(
    "change",
    [{"id": None}, {"id": UUID.upper()}, {"kid": None}, {"kid": "5C" * 16}, {"kid": "5c" * 15}, {"name": ""}],
    ids=str,
)
def test_a_model_that_is_not_as_it_must_be(
    change: dict[str, Any], file: bytes, claims: dict[str, Any], lock_scene: Scene
) -> None:
    models = [claims["models"][0], {**claims["models"][1], **change}]
    assert refused(signed_again(file, lock_scene.signing_key, models=models)).reason == "license_malformed"


def test_a_slot_or_a_model_twice(file: bytes, claims: dict[str, Any], lock_scene: Scene) -> None:
    for name in ("slots", "models"):
        twice = [*claims[name], claims[name][0]]
        assert "twice" in refused(signed_again(file, lock_scene.signing_key, **{name: twice})).message


# What a later version may add.


def test_unknown_claims_are_ignored(file: bytes, claims: dict[str, Any], lock_scene: Scene) -> None:
    claims["slots"][0]["gpu"]["later"] = claims["models"][0]["later"] = claims["cnf"]["later"] = 1
    changed = {name: claims[name] for name in ("slots", "models", "cnf")}
    license = read(signed_again(file, lock_scene.signing_key, later={"a": 1}, policy={"later": [1]}, **changed))
    assert license.policy == Policy()


@pytest.mark.parametrize("version", [0, 2, 3, 2**53 - 1])
def test_another_version_is_unsupported_whatever_else_it_says(version: int, file: bytes, lock_scene: Scene) -> None:
    error = refused(signed_again(file, lock_scene.signing_key, ver=version, slots="another form", exp=None))
    assert isinstance(error, ClaimsUnsupportedError)
    assert (error.reason, error.hints) == ("license_unsupported", ("install a newer weightlock",))


@pytest.mark.parametrize("names", [["later"], ["exp", "later"], ["crit"], ["EXP"], ["exp "]])
def test_a_critical_claim_that_is_unknown_is_unsupported_whatever_else_it_says(
    names: list[str], file: bytes, lock_scene: Scene
) -> None:
    error = refused(signed_again(file, lock_scene.signing_key, crit=names, later=1, slots="another form"))
    assert isinstance(error, ClaimsUnsupportedError)
    assert error.reason == "license_unsupported"


def test_critical_claims_that_are_known_are_accepted(file: bytes, claims: dict[str, Any], lock_scene: Scene) -> None:
    read(signed_again(file, lock_scene.signing_key, crit=sorted(claims)))


# The file and its grants.

FILE_CHANGES: dict[str, Change] = {
    "no license": lambda file: file.pop("license"),
    "a license that is no text": lambda file: file.update(license={}),
    "an empty license": lambda file: file.update(license=""),
    "a license that is no signed text": lambda file: file.update(license="hello"),
    "an unknown member": lambda file: file.update(comment="hello"),
    "no grants": lambda file: file.pop("grants"),
    "an empty list of grants": lambda file: file.update(grants=[]),
    "grants that are no list": lambda file: file.update(grants={}),
    "a grant that is no object": lambda file: file["grants"].append("grant"),
    "a grant too few": lambda file: file["grants"].pop(),
    "the same grant twice": lambda file: file["grants"].append(file["grants"][0]),
    "two grants for one place": lambda file: file["grants"].append({**file["grants"][0], "key": b64(bytes(40))}),
    "a grant for another model": lambda file: file["grants"].append({**file["grants"][0], "model": UUID}),
    "a grant for another slot": lambda file: file["grants"].append({**file["grants"][0], "slot": "slot-3"}),
    "a grant in place of another": lambda file: file["grants"][0].update(slot="slot-3"),
    "a grant with an unknown member": lambda file: file["grants"][0].update(note=1),
    "a grant without a key": lambda file: file["grants"][0].pop("key"),
    "a key of 39 bytes": lambda file: file["grants"][0].update(key=b64(bytes(39))),
    "a key of 41 bytes": lambda file: file["grants"][0].update(key=b64(bytes(41))),
    "a key with unused bits": lambda file: file["grants"][0].update(key="A" * 53 + "B"),
    "a key with padding": lambda file: file["grants"][0].update(key=b64(bytes(40)) + "=="),
    "a model in upper case": lambda file: file["grants"][0].update(model=UUID.upper()),
    "a slot with a leading zero": lambda file: file["grants"][0].update(slot="slot-01"),
}


@pytest.mark.parametrize("change", FILE_CHANGES.values(), ids=FILE_CHANGES)
def test_a_file_that_is_not_as_it_must_be(change: Change, file: bytes) -> None:
    members = json.loads(file)
    change(members)
    assert refused(canonical(members)).reason == "license_malformed"


def test_the_order_of_grants_is_free(file: bytes) -> None:
    members = json.loads(file)
    members["grants"].reverse()
    assert read(canonical(members)) == read(file)
