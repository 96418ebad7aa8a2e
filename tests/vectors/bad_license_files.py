"""License files that must be refused before their claims are read: steps 1 to 3 of docs/spec/license.md, section 15.

Each breaks one rule; each is a change to one good license, signed again where the rule lies behind the signature.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.vectors.license_vectors import VENDORS, base_license
from tests.vectors.reference_crypto import Ed25519Signer, Es256Signer, Ps256Signer, b64, canonical, thumbprint
from tests.vectors.reference_license import DAY, ISSUED, LICENSE_TYPE, FixedLicense

__all__ = ["BASE", "BASE_FILE", "Bad", "bad", "bad_license_files"]

Bad = dict[str, Any]
BASE = base_license()
BASE_FILE = BASE.file()


def bad(name: str, section: str, step: int, reason: str, file: str | bytes, **context: Any) -> Bad:
    """One vector; `context` replaces members of the context that all of them share."""
    content = {"file": file} if isinstance(file, str) else {"file_hex": file.hex()}
    return {"name": name, "section": section, "step": step, "reason": reason, **content, **context}


def bad_license_files() -> list[Bad]:
    return [*_json_rules(), *_file_members(), *_signed_texts(), *_signatures()]


def _json_rules() -> Iterator[Bad]:
    def malformed(name: str, rule: int, file: str | bytes, **more: Any) -> Bad:
        return bad(name, f"2.1, rule {rule}", 1, "license_malformed", file, **more)

    # Of a member that is there twice, most parsers take the last one, and that is the right one here.
    body = BASE_FILE[1:]
    yield malformed("an empty file", 1, "")
    yield malformed("one byte more than allowed", 1, BASE_FILE, pad_with_spaces_to=4194305)
    yield malformed("not UTF-8", 2, BASE_FILE.encode() + b"\xff")
    yield malformed("UTF-16", 2, BASE_FILE.encode("utf-16"))
    yield malformed("a byte order mark", 2, b"\xef\xbb\xbf" + BASE_FILE.encode())
    yield malformed("two objects", 2, BASE_FILE + "{}")
    yield malformed("an array", 2, f"[{BASE_FILE}]")
    yield malformed("a trailing comma", 2, BASE_FILE[:-1] + ",}")
    yield malformed("whitespace that JSON does not know", 2, BASE_FILE + "\x0b")
    yield malformed("the same member twice", 3, f'{{"grants":[],{body}')
    yield malformed("the same member twice, escaped", 3, f'{{"\\u0067rants":[],{body}')


def _file_members() -> Iterator[Bad]:
    def malformed(name: str, change: Callable[[dict[str, Any]], object]) -> Bad:
        members = json.loads(BASE_FILE)
        change(members)
        return bad(name, "13", 1, "license_malformed", canonical(members))

    grant = json.loads(BASE_FILE)["grants"][0]
    yield malformed("an unknown member", lambda file: file.update(comment="hello"))
    yield malformed("no license", lambda file: file.pop("license"))
    yield malformed("a license that is no string", lambda file: file.update(license=[file["license"]]))
    yield malformed("no grants", lambda file: file.pop("grants"))
    yield malformed("an empty array of grants", lambda file: file.update(grants=[]))
    yield malformed("the same grant twice", lambda file: file["grants"].append(grant))
    yield malformed("a grant with an unknown member", lambda file: file["grants"][0].update(note=1))
    yield malformed("a grant that is no object", lambda file: file["grants"].append("grant"))
    yield malformed("a grant of 39 bytes", lambda file: file["grants"][0].update(key=b64(bytes(39))))
    yield malformed("a grant with padding", lambda file: file["grants"][0].update(key=grant["key"] + "="))
    yield malformed("a grant with unused bits set", lambda file: file["grants"][0].update(key="A" * 53 + "B"))
    yield malformed("a slot number with a leading zero", lambda file: file["grants"][0].update(slot="slot-01"))
    yield malformed("a model id in upper case", lambda file: file["grants"][0].update(model=grant["model"].upper()))


def _with_text(change: Callable[[str], str]) -> str:
    members = json.loads(BASE_FILE)
    members["license"] = change(members["license"])
    return canonical(members)


def _signed_texts() -> Iterator[Bad]:
    def malformed(name: str, change: Callable[[str], str]) -> Bad:
        return bad(name, "5", 1, "license_malformed", _with_text(change))

    def header(**changes: Any) -> Callable[[str], str]:
        right = {"alg": "EdDSA", "kid": thumbprint(BASE.signer.jwk()), "typ": LICENSE_TYPE}
        changed = {name: value for name, value in {**right, **changes}.items() if value is not None}
        license = replace(BASE, header=canonical(changed))
        return lambda _: license.text()

    yield malformed("two parts", lambda text: text.rpartition(".")[0])
    yield malformed("four parts", lambda text: text + ".")
    yield malformed("a line break in a part", lambda text: text[:9] + "\n" + text[9:])
    yield malformed("padding", lambda text: text + "=")
    yield malformed("unused bits set in the signature", lambda text: text[:-1] + chr(ord(text[-1]) + 1))
    yield malformed("a header that is not JSON", lambda text: b64(b"{") + text[text.index(".") :])
    for member, value in {"jwk": BASE.signer.jwk(), "crit": ["exp"], "b64": False, "x5u": "https://a.example"}.items():
        yield malformed(f"the header member {member}", header(**{member: value}))
    for member in ("alg", "kid", "typ"):
        yield malformed(f"no header member {member}", header(**{member: None}))
    yield malformed("the type of a request", header(typ="weightlock-request+jwt"))
    yield malformed("the type JWT", header(typ="JWT"))
    yield malformed("a kid that is no thumbprint", header(kid="key-1"))
    right = {"alg": "EdDSA", "kid": thumbprint(BASE.signer.jwk()), "typ": LICENSE_TYPE}
    spaces = replace(BASE, header=canonical(right).ljust(513)).text()
    yield malformed("a header of more than 512 bytes", lambda _: spaces)


def _signatures() -> Iterator[Bad]:
    stranger = Ed25519Signer("vendor key of a stranger")
    yield bad("a vendor key that is not trusted", "6", 2, "untrusted_vendor", replace(BASE, signer=stranger).file())

    def invalid(name: str, license: FixedLicense) -> Bad:
        return bad(name, "5", 3, "signature_invalid", license.file())

    def named(algorithm: str, signer: Any, kid_of: str) -> FixedLicense:
        header = {"alg": algorithm, "kid": thumbprint(VENDORS[kid_of].jwk()), "typ": LICENSE_TYPE}
        return replace(BASE, signer=signer, header=canonical(header))

    ps256 = VENDORS["PS256"]
    assert isinstance(ps256, Ps256Signer)
    yield invalid("signed by another key than kid names", named("EdDSA", stranger, "EdDSA"))
    yield invalid("the algorithm none", named("none", _Unsigned(), "EdDSA"))
    yield invalid("the algorithm HS256", named("HS256", stranger, "EdDSA"))
    yield invalid("RS256 for a key of PS256", named("RS256", ps256, "PS256"))
    yield invalid("EdDSA for a key of ES256", named("EdDSA", VENDORS["ES256"], "ES256"))
    yield invalid("the algorithm by its newer name", named("Ed25519", BASE.signer, "EdDSA"))
    yield invalid("an ECDSA signature in DER", named("ES256", _DerSigner("vendor key, P-256"), "ES256"))
    yield invalid("a PSS signature with an empty salt", named("PS256", Ps256Signer(ps256.key, salt_bytes=0), "PS256"))
    yield bad("a changed payload", "5", 3, "signature_invalid", _with_text(_later_end))
    yield bad("an empty signature", "5", 3, "signature_invalid", _with_text(lambda text: text.rpartition(".")[0] + "."))


class _Unsigned(Ed25519Signer):
    def __init__(self) -> None:
        super().__init__("unused")

    def sign(self, data: bytes) -> bytes:
        return b""


class _DerSigner(Es256Signer):
    def sign(self, data: bytes) -> bytes:
        return self.sign_der(data)


def _later_end(text: str) -> str:
    header, _payload, signature = text.split(".")
    payload = canonical({**BASE.claims(), "exp": ISSUED + 3650 * DAY})
    return f"{header}.{b64(payload.encode())}.{signature}"
