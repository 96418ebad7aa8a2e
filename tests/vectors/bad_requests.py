"""Trust files and license requests of which each breaks one rule of docs/spec/license.md, sections 6 and 11."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.vectors import reference_license as reference
from tests.vectors.license_vectors import DEVICE, GPU_A, GPU_B, MACHINE_ID, MIG, TRUST_FILE, VENDORS
from tests.vectors.reference_crypto import Ed25519Signer, Ps256Signer, RsaKey, b64, canonical, thumbprint

__all__ = ["bad_requests", "bad_trust_files"]

Bad = dict[str, Any]


def bad_trust_files() -> list[Bad]:
    files = [*_json_rules(), *_trust_files()]
    return [{"name": name, "reason": "trust_malformed", "file": file} for name, file in files]


def _json_rules() -> Iterator[tuple[str, str]]:
    """Breaks section 2.1 inside a member that readers ignore, so that nothing else can be the cause."""
    numbers = ("1.0", "1e2", "9007199254740992", "-9007199254740992", "-0", "NaN", "Infinity", "01")
    values = {f"the number {number}": number for number in numbers}
    values["half of a surrogate pair"] = '"\\ud800"'
    values["halves of a surrogate pair in the wrong order"] = '"\\ude00\\ud83d"'
    values["nested 17 deep"] = "[" * 16 + "]" * 16
    values["nested 17 deep behind brackets in a string"] = '["' + "]" * 16 + '",' + "[" * 15 + "]" * 15 + "]"
    values["the same member twice in an object inside"] = '{"b":1,"\\u0062":1}'
    values["a line break in a string"] = '"\n"'
    values["single quotes"] = "'b'"
    values["a comment"] = "1/**/"
    for name, value in values.items():
        yield name, f'{{"a":{value},{TRUST_FILE[1:]}'


def _trust_files() -> Iterator[tuple[str, str]]:
    def changed(number: int, **changes: Any) -> str:
        members = json.loads(TRUST_FILE)
        jwk = {**members["keys"][number], **changes}
        members["keys"][number] = {name: value for name, value in jwk.items() if value is not None}
        return canonical(members)

    ed25519, p256, rsa = json.loads(TRUST_FILE)["keys"]
    many = [Ed25519Signer(f"vendor key number {number}") for number in range(65)]
    yield "no keys", canonical({"keys": []})
    yield "65 keys", reference.trust_file(*many)
    yield "a key twice", canonical({"keys": [ed25519, ed25519]})
    yield "a key that is no object", canonical({"keys": [ed25519["x"]]})
    yield "keys that are no array", canonical({"keys": ed25519})
    yield "one JWK instead of a set", canonical(ed25519)
    for member in ("kid", "alg", "use", "kty", "crv", "x"):
        yield f"no member {member}", changed(0, **{member: None})
    yield "a kid that is another thumbprint", changed(0, kid=p256["kid"])
    yield "the algorithm of another key", changed(2, alg="RS256")
    yield "a key for encryption", changed(0, use="enc")
    yield "a private key", changed(0, d=ed25519["x"])
    yield (
        "a symmetric key",
        canonical({"keys": [{"kty": "oct", "k": "AAAA", "kid": "A" * 43, "alg": "HS256", "use": "sig"}]}),
    )
    yield "the curve X25519", changed(0, crv="X25519")
    yield "the curve P-384", changed(1, crv="P-384")
    yield "a point that is not on the curve", changed(1, y=p256["x"])
    yield "an Ed25519 key of 31 bytes", changed(0, x=b64(bytes(31)))
    yield "a modulus with a leading zero byte", changed(2, n="AA" + rsa["n"])
    yield "an exponent of 3", _with_rsa(DEVICE.n, 3)
    yield "a modulus of 2047 bits", _with_rsa(2**2047 - 1, 65537)
    yield "a modulus of 4097 bits", _with_rsa(2**4097 - 1, 65537)


def _with_rsa(modulus: int, exponent: int) -> str:
    numbers = {"n": modulus, "e": exponent}
    encoded = {name: b64(value.to_bytes((value.bit_length() + 7) // 8, "big")) for name, value in numbers.items()}
    jwk = {"kty": "RSA", **encoded}
    return canonical({"keys": [{**jwk, "kid": thumbprint(jwk), "alg": "PS256", "use": "sig"}]})


def bad_requests() -> list[Bad]:
    return [*_files(), *_claims(), *_hardware(), *_signatures()]


def _request(name: str, step: int, reason: str, file: str) -> Bad:
    return {"name": name, "step": step, "reason": reason, "file": file}


def _file(**changes: Any) -> str:
    """A request with some claims changed, or left out where the change is None, signed by the device key."""
    claims = {**reference.request_claims(DEVICE, MACHINE_ID, [GPU_A]), **changes}
    return reference.request_file(
        Ps256Signer(DEVICE), {name: value for name, value in claims.items() if value is not None}
    )


def _files() -> Iterator[Bad]:
    def malformed(name: str, change: Callable[[dict[str, Any]], object]) -> Bad:
        members = json.loads(_file())
        change(members)
        return _request(name, 1, "request_malformed", canonical(members))

    yield _request("one byte more than allowed", 1, "request_malformed", _file()) | {"pad_with_spaces_to": 262145}
    yield malformed("an unknown member", lambda file: file.update(comment="hello"))
    yield malformed("no request", lambda file: file.pop("request"))
    yield malformed("a request that is no text", lambda file: file.update(request=None))
    yield malformed("a text that is not signed", lambda file: file.update(request="hello"))
    license_type = canonical({"alg": "PS256", "kid": thumbprint(DEVICE.jwk()), "typ": reference.LICENSE_TYPE})
    claims = reference.request_claims(DEVICE, MACHINE_ID, [GPU_A])
    file = reference.request_file(Ps256Signer(DEVICE), claims, license_type)
    yield _request("the type of a license", 1, "request_malformed", file)


def _claims() -> Iterator[Bad]:
    machine = reference.request_claims(DEVICE, MACHINE_ID, [])["machine"]
    jwk = DEVICE.jwk()
    wrong: dict[str, list[Any]] = {
        "ver": [None, 2, "1"],
        "jti": [None, "request 1"],
        "iat": [None, -1, 253402300800],
        "tier": [None, "tpm"],
        "cnf": [None, {"jwk": VENDORS["EdDSA"].jwk()}, {"jwk": {**jwk, "d": "AQAB"}}, {"jwk": {**jwk, "e": "Aw"}}],
        "machine": [
            None,
            {**machine, "fingerprint": machine["fingerprint"].upper()},
            {**machine, "label": ""},
            {**machine, "label": "a\tb"},
        ],
        "gpus": [None, {}],
        "driver": ["", 580],
        "generator": [None],
        "history": _bad_histories(),
    }
    for claim, values in wrong.items():
        for number, value in enumerate(values, start=1):
            name = f"the claim {claim} is missing or has a wrong value, {number}"
            yield _request(name, 2, "request_malformed", _file(**{claim: value}))


def _bad_histories() -> list[Any]:
    good, made = reference.HISTORY, reference.ISSUED - reference.DAY
    wrong: dict[str, list[Any]] = {
        "starts": [0, 1001, "3", good["boots"] - 1],
        "boots": [0, good["starts"] + 1],
        "containers": [-1, good["starts"] + 1],
        "since": [-1, made + 1],
        "machine_kept": [1],
        "gpus_kept": ["true"],
    }
    changed = [{**good, name: value} for name, values in wrong.items() for value in values]
    without = [{member: value for member, value in good.items() if member != name} for name in good]
    return [True, [], {}, *changed, *without]


def _hardware() -> Iterator[Bad]:
    a, b, mig = GPU_A.members(), GPU_B.members(), MIG.members()
    wrong: dict[str, list[Any]] = {
        "a GPU's UUID in upper case": [{**a, "uuid": a["uuid"].upper()}],
        "a GPU's UUID that is cut short": [{**a, "uuid": a["uuid"][:-1]}],
        "a MIG instance without its GPU": [{"uuid": mig["uuid"], "name": mig["name"]}],
        "a GPU as part of a GPU": [{**a, "parent": b["uuid"]}],
        "a MIG instance of a MIG instance": [{**mig, "parent": mig["uuid"]}],
        "a GPU without a name": [{"uuid": a["uuid"]}],
        "the same GPU twice": [a, b, a],
    }
    for name, gpus in wrong.items():
        yield _request(name, 2, "request_malformed", _file(gpus=gpus))


def _signatures() -> Iterator[Bad]:
    claims = reference.request_claims(DEVICE, MACHINE_ID, [GPU_A])
    stranger = Ps256Signer(_stranger())
    header = {"alg": "PS256", "kid": thumbprint(DEVICE.jwk()), "typ": reference.REQUEST_TYPE}

    def invalid(name: str, file: str) -> Bad:
        return _request(name, 3, "signature_invalid", file)

    yield invalid("signed by another key", reference.request_file(stranger, claims, canonical(header)))
    yield invalid(
        "the algorithm RS256",
        reference.request_file(Ps256Signer(DEVICE), claims, canonical({**header, "alg": "RS256"})),
    )
    changed = json.loads(_file())["request"].split(".")
    changed[1] = b64(canonical({**claims, "gpus": [GPU_B.members()]}).encode())
    yield invalid("a changed payload", canonical({"request": ".".join(changed)}))
    other_kid = {**header, "kid": thumbprint(VENDORS["EdDSA"].jwk())}
    file = reference.request_file(Ps256Signer(DEVICE), claims, canonical(other_kid))
    yield _request("a kid of another key", 4, "request_malformed", file)


def _stranger() -> RsaKey:
    signer = VENDORS["PS256"]
    assert isinstance(signer, Ps256Signer)
    return signer.key
