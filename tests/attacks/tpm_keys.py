"""The device key in a TPM: using it elsewhere, and making another key pass for one that a TPM keeps."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from licensing.device_key import create_device_key
from licensing.encoding import b64url_encode
from licensing.enrolment_box import make_tpm_request, respond
from licensing.enrolment_files import Challenge, Response, TpmRequest, answer_of
from licensing.errors import LicensingError
from licensing.jwk import to_jwk
from licensing.strict_json import canonical
from licensing.tpm import open_tpm
from licensing.tpm_device_key import create_tpm_device_key
from licensing.tpm_library import tpm2_pytss
from licensing.tpm_structures import device_key_public_area, sized
from tests.attacks.attack import Outcome, Power, StoppedBy, attack
from tests.attacks.boxes import GPU
from tests.attacks.cheat import derived_without_checks
from tests.attacks.scene import AttackScene
from tests.software_tpm import SoftwareTpm

__all__: list[str] = []

Answer = Callable[[bytes], bytes]


@attack("keys", Power.SAME_USER, "load the blobs of the TPM's device key into another TPM", tpm=StoppedBy.CRYPTOGRAPHY)
def copy_the_blobs_to_another_tpm(scene: AttackScene) -> Outcome:
    home = scene.copied_home("blobs-home")
    reason = scene.refusal(scene.license, home=home, foreign=True)
    return scene.locked_out(reason, scene.everything(homes=(home,), tcti=scene.foreign_tcti), "in another TPM")


@attack(
    "keys",
    Power.ROOT,
    "copy the state of a virtual TPM, which the vendor trusts, from the host of the virtual machine",
    tpm=StoppedBy.NOTHING,
)
def copy_the_state_of_a_virtual_tpm(scene: AttackScene) -> Outcome:
    assert scene.makers is not None
    assert scene.box.tpm is not None
    state = scene.folder / "tpms" / "copied-state"
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(scene.box.tpm.state, state, ignore=shutil.ignore_patterns(".lock"))
    twin = scene.makers.start(state)
    header = scene.headers[scene.model]
    loot = scene.everything(homes=(scene.copied_home("blobs-home"),), tcti=twin.tcti)
    if derived_without_checks(loot, header.model_id, header.key_id) is None:
        return Outcome("the copied TPM does not know the device key", StoppedBy.CRYPTOGRAPHY)
    said = "a TPM that runs from the copied state is the same TPM: it opens the device key anywhere"
    return Outcome(said, StoppedBy.NOTHING, "content key", elsewhere=True)


@attack(
    "keys",
    Power.SAME_USER,
    "use a device key in software with a license of the tier tpm",
    tpm=StoppedBy.CRYPTOGRAPHY,
)
def software_key_for_a_tpm_license(scene: AttackScene) -> Outcome:
    home = scene.new_folder("software-home")
    key = create_device_key(home, scene.box.hardware.machine)
    box = replace(scene.box, home=home, device_key=key, tpm=None)
    reason = scene.refusal(scene.license, box=box, home=home)
    return scene.locked_out(reason, scene.everything(homes=(home,)), "with a key in software")


# Getting a license of the tier tpm for a key that no TPM keeps.


@attack(
    "keys",
    Power.SAME_USER,
    "enrol a software TPM, certified by an authority of its own with the names of the maker's",
    tpm=StoppedBy.CRYPTOGRAPHY,
)
def software_tpm_posing_as_a_real_one(scene: AttackScene) -> Outcome:
    assert scene.makers is not None
    assert scene.foreign_tpm is not None
    assert _enrolment_refusal(scene, *_enrolment(scene, scene.foreign_tpm)) is None, "a TPM of the maker is enrolled"
    posing = scene.makers.new("posing", scene.makers.new_maker("poser"))
    reason = _enrolment_refusal(scene, *_enrolment(scene, posing))
    return _judged(reason, "the software TPM", "no maker whom the vendor trusts signed its certificate")


@attack(
    "keys",
    Power.SAME_USER,
    "enrol a key of one's own with the endorsement certificate of a real TPM, with that TPM at hand",
    tpm=StoppedBy.CRYPTOGRAPHY,
)
def key_outside_of_the_tpm_that_vouches_for_it(scene: AttackScene) -> Outcome:
    assert scene.foreign_tpm is not None
    tpm = scene.foreign_tpm
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    members: dict[str, Any] = json.loads(_enrolment(scene, tpm)[0])
    claims = members["tpm_request"]
    claims["cnf"] = {"jwk": to_jwk(key.public_key())}
    claims["tpm"]["public"] = b64url_encode(device_key_public_area(key.public_key()))
    request = TpmRequest.of(claims)

    def answer(data: bytes) -> bytes:
        challenge = Challenge.parse(data)
        secrets = [*_activated(tpm, key, challenge), bytes(32)]
        return Response(request, challenge, answer_of(secrets[0], request, challenge)).to_bytes()

    reason = _enrolment_refusal(scene, canonical(members), answer)
    because = "a TPM opens the challenge only while it has loaded the key, and loads no such key from outside"
    return _judged(reason, "the key", because)


def _activated(tpm: SoftwareTpm, key: rsa.RSAPrivateKey, challenge: Challenge) -> Iterator[bytes]:
    """Yields what the TPM gives for a key that it did not make: loaded by its public half, and by both halves."""
    types = tpm2_pytss()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public, _ = types.TPM2B_PUBLIC.unmarshal(sized(device_key_public_area(key.public_key())))
    for private in (None, types.TPM2B_SENSITIVE.from_pem(pem)):
        try:
            with open_tpm(tpm.tcti) as context:
                loaded = context._context.load_external(public, private, types.ESYS_TR.NULL)
                context._loaded.append(loaded)
                endorsement_key, _, _ = context.endorsement_key("EK-RSA2048")
                yield context.activate(loaded, endorsement_key, challenge.credential)
        except LicensingError:
            continue


def _enrolment(scene: AttackScene, tpm: SoftwareTpm) -> tuple[bytes, Answer]:
    """Returns the request of a new device key in a TPM, and what answers the challenge."""
    home: Path = scene.new_folder("enrolling-home")
    key = create_tpm_device_key(home, tpm.tcti)
    now = datetime.now(timezone.utc)
    request = make_tpm_request(key, home, scene.box.hardware, (GPU,), now)
    return request, lambda challenge: respond(key, home, challenge, now)


def _enrolment_refusal(scene: AttackScene, request: bytes, answer: Answer) -> str | None:
    """Returns why the vendor does not issue a license of the tier `tpm`; None if the vendor does."""
    assert scene.makers is not None
    now = datetime.now(timezone.utc)
    try:
        challenge = scene.vendor.challenge(request, scene.makers.maker.bundle.read_bytes(), now).challenge
        scene.vendor.verified_request(answer(challenge.to_bytes()), now)
    except LicensingError as error:
        return error.reason
    return None


def _judged(reason: str | None, what: str, because: str) -> Outcome:
    """Judges an enrolment: what the vendor's program verifies is out of the attacker's reach."""
    if reason is None:
        return Outcome(f"the vendor enrols {what}", StoppedBy.NOTHING, "content key", elsewhere=True)
    return Outcome(f"the vendor refuses {what} ({reason}): {because}", StoppedBy.CRYPTOGRAPHY)
