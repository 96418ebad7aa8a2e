"""Licenses that must be refused after their signature: steps 4 to 10 of docs/spec/license.md, section 15.

Each breaks one rule; all are signed by the vendor and, where that makes sense, granted for what they say.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from tests.vectors.bad_license_files import BASE, BASE_FILE, Bad, bad
from tests.vectors.license_vectors import (
    GPU_A,
    GPU_B,
    MACHINE_ID,
    MODELS,
    OTHER_MACHINE_ID,
    VENDORS,
    full_license,
    hardware,
)
from tests.vectors.reference_crypto import Ps256Signer, b64, canonical, oaep_encrypt, pseudo_random, thumbprint
from tests.vectors.reference_license import DAY, ISSUED, fixed_uuid, key_id

__all__ = ["bad_licenses", "context"]


def context() -> dict[str, Any]:
    """What the bad licenses meet unless they say otherwise: a box on which the good one unlocks."""
    return {
        "hardware": hardware(MACHINE_ID, [GPU_A]),
        "now": ISSUED + DAY,
        "model_id": MODELS[0].model_id,
        "key_id": key_id(MODELS[0].content_key),
        "device_key": "of this machine",
    }


def bad_licenses() -> list[Bad]:
    early = [*_versions(), *_claim_encoding(), *_claim_values(), *_consistency()]
    return [*early, *_validity_and_model(), *_hardware(), *_device_key(), *_grants()]


def _edited(**changes: Any) -> str:
    """The base license with some claims changed, or left out where the change is None."""
    claims = {**BASE.claims(), **changes}
    return BASE.file(canonical({name: value for name, value in claims.items() if value is not None}))


def _versions() -> Iterator[Bad]:
    unsupported: dict[str, dict[str, Any]] = {
        "a later version": {"ver": 2},
        "a later version with other claims": {"ver": 2, "slots": "elsewhere"},
        "a critical claim that is not known": {"crit": ["exp", "grace"], "grace": 7},
        "a critical claim that is not known and not there": {"crit": ["grace"]},
        "crit among the critical claims": {"crit": ["crit"]},
    }
    for name, changes in unsupported.items():
        yield bad(name, "12", 4, "license_unsupported", _edited(**changes))


def _claim_encoding() -> Iterator[Bad]:
    def malformed(name: str, payload: str) -> Bad:
        return bad(name, "2.1", 4, "license_malformed", BASE.file(payload))

    payload = canonical(BASE.claims())
    yield malformed("a payload with whitespace", payload + "\n")
    yield malformed("a payload in another order", json.dumps(BASE.claims(), separators=(",", ":"), ensure_ascii=False))
    yield malformed("a payload with an escape that is not needed", payload.replace("batch", "b\\u0061tch"))
    yield malformed("a payload nested 17 deep", payload.replace("{}", f'{{"a":{"[" * 15}{"]" * 15}}}'))
    yield malformed("a payload that is no object", "[]")
    yield malformed("an empty payload", "")


def _claim_values() -> Iterator[Bad]:
    for claim in BASE.claims():
        yield bad(f"no claim {claim}", "12", 4, "license_malformed", _edited(**{claim: None}))
    [slot], [model] = BASE.claims()["slots"], BASE.claims()["models"]
    wrong: dict[str, list[Any]] = {
        "ver": ["1", True],
        "jti": ["1", BASE.claims()["jti"].upper()],
        "iss": ["", "a" * 201, 7],
        "sub": ["a\nb", "a\u00a0b", "a\u200bb"],
        "exp": ["2030-01-01", 253402300800, -1],
        "cnf": [{}, {"jkt": "A" * 42}],
        "tier": ["hsm", ["software"]],
        "salt": [b64(bytes(15)), b64(bytes(17))],
        "secret": [b64(bytes(255)), b64(bytes(513))],
        "slots": [
            [],
            {},
            [{**slot, "id": "slot-0"}],
            [{**slot, "gpu": {}}],
            [{**slot, "machine": slot["gpu"]["digest"]}],
        ],
        "models": [[], [{**model, "kid": model["kid"].upper()}], [{**model, "name": ""}]],
        "features": ["batch", [""]],
        "policy": [[]],
        "crit": [[], "exp", [7]],
    }
    for claim, values in wrong.items():
        for number, value in enumerate(values, start=1):
            name = f"the claim {claim} has a wrong value, {number}"
            yield bad(name, "12", 4, "license_malformed", _edited(**{claim: value}))


def _consistency() -> Iterator[Bad]:
    claims = BASE.claims()
    [slot], [model] = claims["slots"], claims["models"]
    other = MODELS[1].members()

    def malformed(name: str, section: str, file: str) -> Bad:
        return bad(name, section, 4, "license_malformed", file)

    yield malformed("the same slot id twice", "12", _edited(slots=[slot, slot]))
    yield malformed("the same model id twice", "12", _edited(models=[model, {**model, "name": "again"}]))
    yield malformed("the end at the beginning", "12", _edited(exp=claims["nbf"]))
    yield malformed("a slot without a grant", "13", _edited(slots=[slot, {**slot, "id": "slot-2"}]))
    yield malformed("a model without a grant", "13", _edited(models=[model, other]))
    yield malformed("a grant without a slot", "13", _edited(slots=[{**slot, "id": "slot-2"}]))
    file = json.loads(BASE_FILE)
    file["grants"].append({**file["grants"][0], "model": other["id"]})
    yield malformed("a grant without a model", "13", canonical(file))


def _validity_and_model() -> Iterator[Bad]:
    claims = BASE.claims()
    yield bad("a second before the beginning", "15", 5, "not_yet_valid", BASE_FILE, now=claims["nbf"] - 1)
    yield bad("the first second after the end", "15", 5, "expired", BASE_FILE, now=claims["exp"])
    yield bad("another model", "15", 6, "model_not_licensed", BASE_FILE, model_id=fixed_uuid("another model"))
    yield bad("another content key", "15", 6, "model_not_licensed", BASE_FILE, key_id="0" * 32)


def _hardware() -> Iterator[Bad]:
    cases = {
        "another machine": ("machine_mismatch", hardware(OTHER_MACHINE_ID, [GPU_A])),
        "no GPU": ("gpu_mismatch", hardware(MACHINE_ID, [])),
        "another GPU": ("gpu_mismatch", hardware(MACHINE_ID, [GPU_B])),
        "a GPU that cannot be read": ("gpu_unreadable", hardware(MACHINE_ID, [GPU_B], "GPU 0 cannot be read")),
    }
    for name, (reason, box) in cases.items():
        yield bad(name, "15", 7, reason, BASE_FILE, hardware=box)
    parent = {**hardware(MACHINE_ID, [GPU_B]), "gpus": [{**GPU_A.members(), "parent": GPU_B.uuid}]}
    yield bad("the licensed UUID under another identity", "7.2", 7, "gpu_mismatch", BASE_FILE, hardware=parent)


def _device_key() -> Iterator[Bad]:
    other_machine = replace(BASE, machine_id=OTHER_MACHINE_ID).file()
    copied = {"hardware": hardware(OTHER_MACHINE_ID, [GPU_A])}
    ps256 = VENDORS["PS256"]
    assert isinstance(ps256, Ps256Signer)
    other_key = {"jkt": thumbprint(ps256.jwk())}
    foreign = oaep_encrypt(ps256.key, BASE.secret, pseudo_random("OAEP seed, foreign", 32))
    mismatch = "device_key_mismatch"
    yield bad("no device key", "10", 8, "device_key_missing", BASE_FILE, device_key="none")
    yield bad("a device key copied from another machine", "10", 8, mismatch, other_machine, **copied)
    yield bad("a device key that is not encrypted", "10", 8, mismatch, BASE_FILE, device_key="not encrypted")
    yield bad("a license for another device key", "15", 8, mismatch, _edited(cnf=other_key))
    yield bad("a license for a TPM", "15", 8, mismatch, _edited(tier="tpm"))
    yield bad("a secret for another device key", "15", 9, mismatch, _edited(secret=b64(foreign)))
    yield bad("a secret of another length than the key", "15", 9, mismatch, _edited(secret=b64(bytes(256))))
    yield bad("a secret of 31 bytes", "15", 9, mismatch, BASE.with_secret(BASE.secret[:31]).file())


def _grants() -> Iterator[Bad]:
    def invalid(name: str, file: Any) -> Bad:
        return bad(name, "9", 10, "grant_invalid", canonical(file))

    def granted(grant: bytes) -> Any:
        file = json.loads(BASE_FILE)
        file["grants"][0]["key"] = b64(grant)
        return file

    right = json.loads(BASE_FILE)
    text, grants = right["license"], right["grants"]
    grant = base64.urlsafe_b64decode(grants[0]["key"] + "==")
    other_key = aes_key_wrap(BASE.kek(text, MODELS[0], "slot-1"), MODELS[1].content_key)
    yield invalid("a changed grant", granted(bytes([grant[0] ^ 1]) + grant[1:]))
    yield invalid("a grant of another content key", granted(other_key))
    yield invalid("the grants of another license", {**json.loads(_edited(exp=ISSUED + 60 * DAY)), "grants": grants})
    full = json.loads(full_license().file())
    first, second = full["grants"][0], full["grants"][2]
    first["key"], second["key"] = second["key"], first["key"]
    yield invalid("the grants of two GPUs exchanged", full)
