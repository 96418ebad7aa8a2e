"""A maker of TPMs on paper: authorities, endorsement certificates, and what a TPM does with a credential.

The TPM's half is written out from TPM 2.0 Library, part 1, and shares nothing with the package under test.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.serialization import Encoding

__all__ = ["BEGIN", "Authority", "der", "endorsement_certificate", "open_credential", "pem"]

BEGIN = datetime(2020, 1, 1, tzinfo=timezone.utc)
EK_CERTIFICATE = x509.ObjectIdentifier("2.23.133.8.1")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Authority:
    """An authority: its certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def new(cls, name: str, issuer: "Authority | None" = None, days: int = 36500) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, key.public_key(), issuer.certificate if issuer else None, days)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        return cls(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def endorsement_certificate(
    issuer: Authority,
    key: Any,
    usage: Sequence[str] = ("key_encipherment",),
    purposes: Sequence[x509.ObjectIdentifier] = (EK_CERTIFICATE,),
    authority: bool | None = False,
    days: int = 36500,
) -> x509.Certificate:
    """Returns an endorsement certificate as the TCG EK Credential Profile has it, or one that differs from that.

    Args:
        issuer: who signs it.
        key: the endorsement key's public half.
        usage: the bits of the key usage; the extension is left out if there are none.
        purposes: the extended key usage; the extension is left out if there are none.
        authority: whether the basic constraints say that it is an authority's; None leaves them out.
        days: for how long it is valid.
    """
    builder = _builder(None, key, issuer.certificate, days)
    maker = x509.Name([x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.1"), "id:54455354")])
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DirectoryName(maker)]), critical=True)
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(authority, None), critical=True)
    if usage:
        builder = builder.add_extension(_usage(**dict.fromkeys(usage, True)), critical=True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def open_credential(key: PrivateKey, name: bytes, identity: bytes, encrypted_seed: bytes) -> bytes:
    """Does what TPM2_ActivateCredential does with a credential; raises ValueError where a TPM would refuse."""
    if isinstance(key, rsa.RSAPrivateKey):
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\x00")
        seed = key.decrypt(encrypted_seed, oaep)
    else:
        x, y = (int.from_bytes(part, "big") for part in _two_parts(encrypted_seed))
        shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
        own = key.public_key().public_numbers().x
        party_info = x.to_bytes(32, "big") + own.to_bytes(32, "big")
        seed = hashlib.sha256((1).to_bytes(4, "big") + shared + b"IDENTITY\x00" + party_info).digest()
    integrity, encrypted = identity[2:34], identity[34:]
    if (
        identity[:2] != b"\x00\x20"
        or hmac.digest(_kdfa(seed, b"INTEGRITY", b"", 256), encrypted + name, "sha256") != integrity
    ):
        raise ValueError("integrity")
    decryptor = Cipher(algorithms.AES(_kdfa(seed, b"STORAGE", name, 128)), CFB(bytes(16))).decryptor()
    plain = decryptor.update(encrypted) + decryptor.finalize()
    if int.from_bytes(plain[:2], "big") != len(plain) - 2:
        raise ValueError("size")
    return plain[2:]


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    message = (1).to_bytes(4, "big") + label + b"\x00" + context + bits.to_bytes(4, "big")
    return hmac.digest(key, message, "sha256")[: bits // 8]


def _two_parts(data: bytes) -> tuple[bytes, bytes]:
    assert data[:2] == data[34:36] == b"\x00\x20"
    assert len(data) == 68
    return data[2:34], data[36:]


def _builder(name: str | None, key: Any, issuer: x509.Certificate | None, days: int) -> x509.CertificateBuilder:
    names = [] if name is None else [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]
    subject = x509.Name(names)
    above = issuer.public_key() if issuer else key
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(BEGIN + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False)  # type: ignore[arg-type]
    )


def _usage(**wanted: bool) -> x509.KeyUsage:
    bits = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{bit: wanted.get(bit, False) for bit in bits})
