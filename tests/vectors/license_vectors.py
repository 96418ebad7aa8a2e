"""The good vectors of docs/spec/license.md: keys, derivations, trust files, requests and licenses."""

import json
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from tests.vectors import reference_license as reference
from tests.vectors.reference_crypto import (
    Ed25519Signer,
    Es256Signer,
    Ps256Signer,
    RsaKey,
    Signer,
    canonical,
    encrypted_pkcs8,
    framed,
    oaep_encrypt,
    pem,
    pseudo_random,
    sha256,
    thumbprint,
)
from tests.vectors.reference_license import DAY, ISSUED, FixedGpu, FixedLicense, FixedModel

MACHINE_ID = pseudo_random("machine id", 16).hex()
OTHER_MACHINE_ID = pseudo_random("other machine id", 16).hex()
GPU_A = FixedGpu("GPU-" + reference.fixed_uuid("GPU A"), "NVIDIA H200")
GPU_B = FixedGpu("GPU-" + reference.fixed_uuid("GPU B"), "NVIDIA H200")
MIG = FixedGpu("MIG-" + reference.fixed_uuid("MIG instance"), "NVIDIA H200 MIG 1g.18gb", GPU_B.uuid)
OLD_MIG = FixedGpu(f"MIG-{GPU_B.uuid}/7/0", "NVIDIA A100 MIG 1g.5gb", GPU_B.uuid)
MODELS = (FixedModel.of("resnet18"), FixedModel.of("minilm"))
DEVICE = RsaKey.fixed("device key")
VENDORS: dict[str, Signer] = {
    "EdDSA": Ed25519Signer("vendor key, Ed25519"),
    "ES256": Es256Signer("vendor key, P-256"),
    "PS256": Ps256Signer(RsaKey.fixed("vendor key, RSA")),
}
TRUST_FILE = reference.trust_file(*VENDORS.values())


def spaced(text: str) -> str:
    """Puts insignificant whitespace of every kind around a text and inside it, as people and editors do."""
    return " \t\r\n" + text.replace("{", "{\r\n\t").replace('":', '" : ') + "\n"


def keys() -> dict[str, Any]:
    password = reference.device_key_password(MACHINE_ID)
    salt, iv = pseudo_random("PBKDF2 salt", 16), pseudo_random("AES-CBC IV", 16)
    encrypted = encrypted_pkcs8(DEVICE.pkcs8(), password.encode(), salt, iv)
    ed25519, es256, ps256 = VENDORS["EdDSA"], VENDORS["ES256"], VENDORS["PS256"]
    assert isinstance(ed25519, Ed25519Signer)
    assert isinstance(es256, Es256Signer)
    assert isinstance(ps256, Ps256Signer)
    private = {
        "EdDSA": {"seed": ed25519.seed.hex()},
        "ES256": {"d": f"{es256.scalar:064x}"},
        "PS256": {"pkcs8_pem": pem("PRIVATE KEY", ps256.key.pkcs8())},
    }
    return {
        "vendors": [
            {"algorithm": name, **_public(key.jwk()), "private": private[name]} for name, key in VENDORS.items()
        ],
        "device": {
            **_public(DEVICE.jwk()),
            "machine_id": MACHINE_ID,
            "password": password,
            "pkcs8_pem": pem("PRIVATE KEY", DEVICE.pkcs8()),
            "encrypted_pkcs8_pem": pem("ENCRYPTED PRIVATE KEY", encrypted),
        },
    }


def _public(jwk: dict[str, str]) -> dict[str, Any]:
    return {"jwk": jwk, "thumbprint_input": canonical(jwk), "thumbprint": thumbprint(jwk)}


def derivations() -> dict[str, Any]:
    frames = [[], [b""], [b"", b""], [b"a", b"bc"], [b"ab", b"c"], [bytes(range(256)), "№".encode()]]
    return {
        "framed": [
            {
                "parts": [part.hex() for part in parts],
                "framed": framed(*parts).hex(),
                "sha256": sha256(framed(*parts)).hex(),
            }
            for parts in frames
        ],
        "key_ids": [
            {"content_key": key.hex(), "key_id": reference.key_id(key)}
            for key in (bytes(32), bytes(range(32)), *(model.content_key for model in MODELS))
        ],
        "machines": [
            {
                "machine_id": machine_id,
                "fingerprint": reference.machine_fingerprint(machine_id),
                "device_key_password": reference.device_key_password(machine_id),
            }
            for machine_id in (MACHINE_ID, OTHER_MACHINE_ID)
        ],
        "gpus": [{**gpu.members(), "identity": gpu.identity} for gpu in (GPU_A, GPU_B, MIG, OLD_MIG)],
        **_slot_derivations(),
        "grants": [_grant(gpu, secret) for gpu in ("", GPU_A.identity) for secret in (bytes(32), bytes(range(32)))],
        "oaep": _oaep(),
    }


def _slot_derivations() -> dict[str, Any]:
    fingerprint = reference.machine_fingerprint(MACHINE_ID)
    salt = pseudo_random("slot salt", 16)
    named = [("machine", fingerprint), ("gpu", GPU_A.identity), ("gpu", MIG.identity), ("gpu", OLD_MIG.identity)]
    return {
        "slot_digests": [
            {
                "salt": salt.hex(),
                "kind": kind,
                "identity": identity,
                "digest": reference.slot_digest(salt, kind, identity).hex(),
            }
            for kind, identity in named
        ],
        "hardware_salts": [
            {
                "machine_fingerprint": fingerprint,
                "gpu_identity": identity,
                "hardware_salt": reference.hardware_salt(fingerprint, identity).hex(),
            }
            for identity in ("", GPU_A.identity, MIG.identity)
        ],
    }


def _grant(gpu_identity: str, secret: bytes) -> dict[str, str]:
    text, model, slot_id = "e30.e30.c2lnbmF0dXJl", MODELS[0], "slot-1"
    salt = reference.hardware_salt(reference.machine_fingerprint(MACHINE_ID), gpu_identity)
    model_key_id = reference.key_id(model.content_key)
    kek = reference.key_encryption_key(secret, salt, text, model.model_id, model_key_id, slot_id)
    return {
        "secret": secret.hex(),
        "hardware_salt": salt.hex(),
        "license": text,
        "model_id": model.model_id,
        "key_id": model_key_id,
        "slot_id": slot_id,
        "kek": kek.hex(),
        "content_key": model.content_key.hex(),
        "grant": aes_key_wrap(kek, model.content_key).hex(),
    }


def _oaep() -> dict[str, str]:
    message, seed = pseudo_random("OAEP message", 32), pseudo_random("OAEP seed", 32)
    return {"message": message.hex(), "seed": seed.hex(), "ciphertext": oaep_encrypt(DEVICE, message, seed).hex()}


def trust_files() -> list[dict[str, Any]]:
    one = reference.trust_file(VENDORS["EdDSA"])
    extended = canonical({"keys": [{**reference.trust_jwk(VENDORS["ES256"]), "note": None}], "issued": [True]})
    prints = {name: thumbprint(signer.jwk()) for name, signer in VENDORS.items()}
    brackets = '{"a":"' + "[" * 20 + '","b":' + "[" * 15 + "]" * 15 + "," + one[1:]
    numbers = '{"a":[9007199254740991,-9007199254740991,0,true,false,null,"\\ud83d\\ude00"],' + one[1:]
    return [
        {"name": "nested 16 deep, and brackets in a string", "file": brackets, "thumbprints": [prints["EdDSA"]]},
        {"name": "every kind of value", "file": numbers, "thumbprints": [prints["EdDSA"]]},
        {"name": "one key", "file": one, "thumbprints": [prints["EdDSA"]]},
        {"name": "one key of each kind", "file": TRUST_FILE, "thumbprints": list(prints.values())},
        {"name": "unknown members", "file": extended, "thumbprints": [prints["ES256"]]},
        {"name": "insignificant whitespace", "file": spaced(one), "thumbprints": [prints["EdDSA"]]},
    ]


def requests() -> list[dict[str, Any]]:
    signer = Ps256Signer(DEVICE)
    named = {"a machine alone": [], "two GPUs and a MIG instance": [GPU_A, GPU_B, MIG], "a MIG UUID of old": [OLD_MIG]}
    good = []
    for name, gpus in named.items():
        claims = reference.request_claims(DEVICE, MACHINE_ID, gpus)
        good.append({"name": name, "file": reference.request_file(signer, claims), "claims": claims})
    proven = {**claims, "history": {**reference.HISTORY, "later": "ignored"}}
    good.append({"name": "a history", "file": reference.request_file(signer, proven), "claims": proven})
    extended = {**claims, "later": {"version": 2}}
    del extended["driver"]
    header = json.dumps({"typ": reference.REQUEST_TYPE, "kid": thumbprint(DEVICE.jwk()), "alg": "PS256"})
    file = spaced(reference.request_file(signer, extended, header))
    return [*good, {"name": "whitespace, unknown members, no driver", "file": file, "claims": extended}]


def base_license(vendor: str = "EdDSA") -> FixedLicense:
    """The license from which the bad ones are made: one GPU, one model."""
    return FixedLicense.of("one GPU", VENDORS[vendor], DEVICE, MACHINE_ID, [GPU_A], MODELS[:1])


def full_license() -> FixedLicense:
    """Two GPUs and a MIG instance, two models."""
    gpus = [GPU_A, GPU_B, MIG]
    return FixedLicense.of("two GPUs, one MIG instance", VENDORS["PS256"], DEVICE, MACHINE_ID, gpus, MODELS)


def licenses() -> list[dict[str, Any]]:
    machine_alone = FixedLicense.of("a machine alone", VENDORS["ES256"], DEVICE, MACHINE_ID, [], MODELS[:1])
    base, full = base_license(), full_license()
    policy = {
        "policy": {"\U0001f600": [None, -1], "\uff5e": {"nested": '\u2028\x7f\x00"\\'}},
        "crit": ["policy", "exp"],
    }
    rich = canonical({**base.claims(), **policy, "later": 2})
    brackets = canonical({**base.claims(), "sub": "[" * 20})
    kid = thumbprint(base.signer.jwk())
    other_header = replace(base, header=json.dumps({"typ": reference.LICENSE_TYPE, "alg": "EdDSA", "kid": kid}))
    return [
        _license("a machine alone, ES256", machine_alone, machine_alone.file(), []),
        _license("one GPU, EdDSA", base, base.file(), [GPU_B, GPU_A]),
        _license("two GPUs and two models, PS256: the first GPU is there", full, full.file(), [GPU_A]),
        _license("two GPUs and two models, PS256: the second GPU is there", full, full.file(), [GPU_B]),
        _license("two GPUs and two models, PS256: both are there", full, full.file(), [GPU_B, GPU_A]),
        _license("insignificant whitespace in the file", base, spaced(base.file()), [GPU_A]),
        _license(
            "unknown claims, known critical ones, names that UTF-16 sorts otherwise", base, base.file(rich), [GPU_A]
        ),
        _license("brackets in a name", base, base.file(brackets), [GPU_A]),
        _license("a header in another order and with whitespace", other_header, other_header.file(), [GPU_A]),
        _mig_license(),
    ]


def _mig_license() -> dict[str, Any]:
    gpus = [GPU_A, MIG]
    license = FixedLicense.of("a GPU and a MIG instance", VENDORS["PS256"], DEVICE, MACHINE_ID, gpus, MODELS)
    return _license("a MIG instance of another GPU", license, license.file(), [GPU_B, MIG])


def _license(name: str, license: FixedLicense, file: str, gpus: list[FixedGpu]) -> dict[str, Any]:
    """Describes a license, and what each step of unlocking gives on a box with these GPUs."""
    text = json.loads(file)["license"]
    present = {gpu.identity for gpu in gpus}
    slot_id = next(slot_id for slot_id, gpu in license.slots.items() if gpu is None or gpu.identity in present)
    gpu = license.slots[slot_id]
    salt = reference.hardware_salt(reference.machine_fingerprint(license.machine_id), gpu.identity if gpu else "")
    return {
        "name": name,
        "file": file,
        "hardware": hardware(license.machine_id, gpus),
        "now": ISSUED + DAY,
        "slot": slot_id,
        "secret": license.secret.hex(),
        "hardware_salt": salt.hex(),
        "models": [
            {
                "model_id": model.model_id,
                "key_id": reference.key_id(model.content_key),
                "kek": license.kek(text, model, slot_id).hex(),
                "content_key": model.content_key.hex(),
            }
            for model in license.models
        ],
    }


def hardware(machine_id: str, gpus: list[FixedGpu], *problems: str) -> dict[str, Any]:
    return {"machine_id": machine_id, "gpus": [gpu.members() for gpu in gpus], "problems": list(problems)}
