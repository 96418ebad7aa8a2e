"""Endorsement certificates: by what a vendor tells a TPM of a maker that it trusts from one that anybody can start.

docs/spec/license.md, section 18.4. The chain is verified by `cryptography`'s path validation (RFC 5280) up to the
certificates of a bundle that the vendor chose; the profile is that of the TCG EK Credential Profile for TPM Family 2.0,
section 3.
"""

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

from licensing.errors import EndorsementError, LicensingError, UsageError
from licensing.tpm_credential import EndorsementPublicKey

__all__ = [
    "MAX_BUNDLE_BYTES",
    "endorsement_public_key",
    "first_certificate",
    "is_for_key",
    "read_bundle",
    "to_der",
    "verify_endorsement",
]

MAX_BUNDLE_BYTES = 4 * 1024 * 1024

EK_CERTIFICATE = x509.ObjectIdentifier("2.23.133.8.1")
"""tcg-kp-EKCertificate: the extended key usage of endorsement certificates."""

_HINTS = (
    "the TPM must be one whose maker's certificates are in the bundle that --ca names",
    "anybody can start a software TPM: without such a certificate, nothing tells it from a chip",
)


def read_bundle(data: bytes) -> list[x509.Certificate]:
    """Returns the certificates that a vendor trusts: roots, and intermediate ones where TPMs do not bring them.

    Args:
        data: PEM.

    Raises:
        UsageError: it holds no certificate, or one that cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(data)
    except Exception as cause:  # As below.
        raise UsageError("the bundle of --ca holds no certificates that can be read", "write them as PEM") from cause


def verify_endorsement(
    certificates: Sequence[bytes], anchors: Sequence[x509.Certificate], now: datetime
) -> tuple[x509.Certificate, EndorsementPublicKey]:
    """Verifies an endorsement certificate.

    Args:
        certificates: DER: the endorsement certificate, then those between it and an anchor, in any order.
        anchors: the certificates that the vendor trusts.
        now: the time for which all of them must be valid.

    Returns:
        The certificate and the endorsement key that it certifies.

    Raises:
        EndorsementError: the chain does not lead to an anchor, or the certificate is not one of an endorsement key.
    """
    if not certificates:
        raise EndorsementError("the TPM has no endorsement certificate", *_HINTS, reason="endorsement_missing")
    try:
        leaf, *between = [x509.load_der_x509_certificate(der) for der in certificates]
        _verify_chain(leaf, between, anchors, now)
        key = endorsement_public_key(leaf)
        _check_profile(leaf, key)
    except VerificationError as cause:
        raise EndorsementError(
            "the TPM's endorsement certificate was not issued by anybody whom the vendor trusts", *_HINTS
        ) from cause
    except LicensingError:
        raise
    except Exception as cause:  # The library's errors about certificates have no base of their own.
        raise EndorsementError("the TPM's endorsement certificate cannot be read") from cause
    return leaf, key


def endorsement_public_key(certificate: x509.Certificate) -> EndorsementPublicKey:
    """Returns the key of an endorsement certificate.

    Raises:
        EndorsementError: it is neither RSA-2048 nor P-256, the keys of the profile's low range.
    """
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey) and key.key_size == 2048 and key.public_numbers().e == 65537:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise EndorsementError("the endorsement key is neither RSA with 2048 bits nor on P-256")


def first_certificate(data: bytes) -> x509.Certificate | None:
    """Returns the certificate that some DER begins with; makers fill their TPMs' memory up behind it."""
    if len(data) < 4 or data[:2] != b"\x30\x82":
        return None
    try:
        return x509.load_der_x509_certificate(data[: 4 + int.from_bytes(data[2:4], "big")])
    except Exception:  # As above.
        return None


def _verify_chain(
    leaf: x509.Certificate, between: list[x509.Certificate], anchors: Sequence[x509.Certificate], now: datetime
) -> None:
    # What the Web's rules want of extensions does not fit TPMs: their certificates name no server and often no subject.
    # `_check_profile` says what they must have, and the authorities' own are checked as everywhere.
    builder = PolicyBuilder().store(Store(list(anchors))).time(now)
    builder = builder.extension_policies(
        ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
    )
    builder.build_client_verifier().verify(leaf, between)


def _check_profile(leaf: x509.Certificate, key: EndorsementPublicKey) -> None:
    extensions = {extension.oid: extension.value for extension in leaf.extensions}
    constraints = extensions.get(x509.BasicConstraints.oid)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise EndorsementError("the TPM's endorsement certificate is one of an authority, not of a key")
    usage = extensions.get(x509.KeyUsage.oid)
    wanted = "key_encipherment" if isinstance(key, RSAPublicKey) else "key_agreement"
    if not isinstance(usage, x509.KeyUsage) or not getattr(usage, wanted) or usage.key_cert_sign:
        raise EndorsementError("the TPM's endorsement certificate is not for a key that decrypts")
    purposes = extensions.get(x509.ExtendedKeyUsage.oid)
    if not isinstance(purposes, x509.ExtendedKeyUsage) or EK_CERTIFICATE not in purposes:
        raise EndorsementError(
            "the certificate is not one of an endorsement key: its extended key usage says otherwise"
        )


def is_for_key(certificate: x509.Certificate, public_key: bytes) -> bool:
    """Returns whether a certificate is for this key, given as PEM."""
    try:
        return certificate.public_key() == load_pem_public_key(public_key)
    except Exception:  # As above.
        return False


def to_der(certificate: x509.Certificate) -> bytes:
    """Returns a certificate in DER."""
    return certificate.public_bytes(Encoding.DER)
