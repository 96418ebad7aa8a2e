"""Tricks with signed texts (RFC 8725): a license that ends in ten years, in a form that a lax reader accepts.

The attacker works on the licensed machine with all that its user has, and cannot sign as the vendor.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from licensing.clock_reset import RESET_TYPE, read_clock_reset
from licensing.errors import LicensingError
from licensing.jwk import to_jwk
from licensing.license import LICENSE_TYPE
from licensing.strict_json import canonical
from licensing.trust import TrustedKeys
from tests.attacks.attack import Outcome, Power, StoppedBy, attack
from tests.attacks.boxes import GPU, request_of
from tests.attacks.claims import far_end
from tests.attacks.scene import AttackScene
from tests.lock_attacks import claims_of
from tests.raw_jws import b64, header_of, raw_jws

__all__: list[str] = []


def _payload(scene: AttackScene) -> bytes:
    return canonical({**claims_of(scene.license), "exp": far_end()})


def _file(scene: AttackScene, text: str) -> bytes:
    return json.dumps({**json.loads(scene.license), "license": text}).encode()


def _header(scene: AttackScene, **changes: Any) -> bytes:
    """Returns the header of the vendor's own licenses, with members changed or added; None takes one away."""
    return header_of(scene.vendor._signing_key, LICENSE_TYPE, **changes)


def _forged(scene: AttackScene, header: bytes) -> str:
    """Returns the extended license under a header, signed with a key of the attacker's."""
    return raw_jws(header, _payload(scene), scene.stranger._signing_key)


def _tried(scene: AttackScene, texts: Iterable[str], what: str) -> Outcome:
    """Tries licenses one after the other, with the grants of the genuine one."""
    files = [_file(scene, text) for text in texts]
    reasons = [scene.refusal(file) for file in files]
    refused = None if None in reasons else " or ".join(sorted({str(reason) for reason in reasons}))
    return scene.locked_out(refused, scene.everything(*files), what)


@attack("tokens", Power.SAME_USER, "extend the license with `alg: none`, and no signature", both=StoppedBy.CRYPTOGRAPHY)
def alg_none(scene: AttackScene) -> Outcome:
    texts = []
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        signed = f"{b64(_header(scene, alg=algorithm))}.{b64(_payload(scene))}"
        old = json.loads(scene.license)["license"].rpartition(".")[2]
        texts += [f"{signed}.", f"{signed}.{old}"]
    return _tried(scene, texts, "a license that says it is not signed")


@attack(
    "tokens",
    Power.SAME_USER,
    "extend the license with `alg: HS256`, keyed by the vendor's public key",
    both=StoppedBy.CRYPTOGRAPHY,
)
def hs256_with_the_public_key(scene: AttackScene) -> Outcome:
    public_key = scene.vendor._signing_key.public_key()
    secrets = [
        public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public_key.public_bytes(Encoding.Raw, PublicFormat.Raw),
        canonical(to_jwk(public_key)),
        scene.trust.read_bytes(),
    ]
    signed = f"{b64(_header(scene, alg='HS256'))}.{b64(_payload(scene))}"
    texts = [f"{signed}.{b64(hmac.digest(secret, signed.encode(), hashlib.sha256))}" for secret in secrets]
    return _tried(scene, texts, "a license with an HMAC for a signature")


def _injected(scene: AttackScene, what: str, **members: Any) -> Outcome:
    """Tries a header that brings a key along, under the vendor's kid and under the attacker's."""
    own = scene.stranger._signing_key
    headers = [_header(scene, **members), header_of(own, LICENSE_TYPE, **members)]
    return _tried(scene, [_forged(scene, header) for header in headers], what)


@attack("tokens", Power.SAME_USER, "extend the license, with one's own key in `jwk`", both=StoppedBy.CRYPTOGRAPHY)
def jwk_injection(scene: AttackScene) -> Outcome:
    jwk = to_jwk(scene.stranger._signing_key.public_key())
    return _injected(scene, "a license that brings its key", jwk=jwk)


@attack("tokens", Power.SAME_USER, "extend the license, with one's own key set by `jku`", both=StoppedBy.CRYPTOGRAPHY)
def jku_injection(scene: AttackScene) -> Outcome:
    return _injected(scene, "a license that says where its key is", jku=scene.stranger.trust_path.as_uri())


@attack(
    "tokens", Power.SAME_USER, "extend the license, with one's own certificate in `x5c`", both=StoppedBy.CRYPTOGRAPHY
)
def x5c_injection(scene: AttackScene) -> Outcome:
    der = scene.stranger._signing_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _injected(scene, "a license that brings a certificate", x5c=[b64(der)])


@attack(
    "tokens",
    Power.SAME_USER,
    "extend the license with a `kid` that is a path, empty, missing, somebody else's, or not the signer's",
    both=StoppedBy.CRYPTOGRAPHY,
)
def kid_games(scene: AttackScene) -> Outcome:
    own = header_of(scene.stranger._signing_key, LICENSE_TYPE)
    path = scene.stranger.trust_path
    kids = ["../../../../dev/null", str(path), "", None, "A" * 43, ["a"], 1, "' or 1=1 --"]
    texts = [_forged(scene, header) for header in (own, _header(scene), *(_header(scene, kid=kid) for kid in kids))]
    return _tried(scene, texts, "a license with another kid")


@attack(
    "tokens",
    Power.SAME_USER,
    "extend the license with `crit` in its header, naming what readers may not know",
    both=StoppedBy.CRYPTOGRAPHY,
)
def crit_in_the_header(scene: AttackScene) -> Outcome:
    texts = [_forged(scene, _header(scene, crit=crit, b64=False)) for crit in ([], ["exp"], ["b64"], "b64")]
    return _tried(scene, texts, "a license with a critical header")


@attack(
    "tokens",
    Power.SAME_USER,
    "extend the license by duplicate members: in the file, in the header and in the payload",
    both=StoppedBy.CRYPTOGRAPHY,
)
def duplicate_members(scene: AttackScene) -> Outcome:
    genuine = json.loads(scene.license)["license"]
    forged = _forged(scene, _header(scene))
    twice = _payload(scene).replace(b'"exp":', b'"exp":1,"exp":')
    texts = [
        _forged(scene, _header(scene).replace(b'{"alg"', b'{"alg":"none","alg"')),
        raw_jws(_header(scene), twice, scene.stranger._signing_key),
        forged,
    ]
    file = _file(scene, forged)
    doubled = [
        file.replace(b'{"license"', b'{"license":' + json.dumps(genuine).encode() + b',"license"', 1),
        file[:-1] + b',"license":' + json.dumps(genuine).encode() + b"}",
    ]
    reasons = {scene.refusal(each) for each in doubled}
    if None in reasons:
        return Outcome("a file with two licenses unlocks", StoppedBy.NOTHING, "more time")
    return _tried(scene, texts, "a license that says something twice")


@attack("tokens", Power.SAME_USER, "extend the license with a wrong `typ`, or none", both=StoppedBy.CRYPTOGRAPHY)
def wrong_typ(scene: AttackScene) -> Outcome:
    types = ("JWT", LICENSE_TYPE.upper(), f"application/{LICENSE_TYPE}", None)
    return _tried(scene, [_forged(scene, _header(scene, typ=typ)) for typ in types], "a license of another type")


def _clock_reset(scene: AttackScene) -> str:
    """Returns a text of another kind that the same vendor signed, for the same device."""
    now = datetime.now(timezone.utc)
    data = scene.vendor.reset_clock(request_of(scene.box, (GPU,), scene.vendor, scene.makers, now), now=now)
    return str(json.loads(data)["clock_reset"])


@attack(
    "tokens",
    Power.SAME_USER,
    "pass a clock reset, which the same vendor signed, for a license",
    both=StoppedBy.CRYPTOGRAPHY,
)
def token_of_another_kind(scene: AttackScene) -> Outcome:
    return _tried(scene, [_clock_reset(scene)], "a clock reset as a license")


@attack(
    "tokens", Power.SAME_USER, "pass a license, which the same vendor signed, for a clock reset", both=StoppedBy.CHECK
)
def license_as_a_clock_reset(scene: AttackScene) -> Outcome:
    """The state that a reset begins anew is a check itself, so that a patched program needs no reset at all."""
    trusted = TrustedKeys.read(scene.trust)
    genuine = canonical({"clock_reset": _clock_reset(scene)})
    assert read_clock_reset(genuine, trusted).vendor == scene.vendor.name, "the control"
    assert RESET_TYPE != LICENSE_TYPE
    try:
        read_clock_reset(canonical({"clock_reset": json.loads(scene.license)["license"]}), trusted)
    except LicensingError as error:
        said = f"refused ({error.reason}): its type is that of a license"
        return Outcome(said, StoppedBy.CHECK, "more time")
    return Outcome("a license was taken for a clock reset", StoppedBy.NOTHING, "more time")
