"""What only one TPM can open: the vendor's half of credential activation, in software.

docs/spec/license.md, section 18.4. TPM2_MakeCredential needs nothing secret of a TPM, so a vendor needs none
(TPM 2.0 Library, part 1, section 24, "Credential Protection", and annexes B.10.4 and C.6.4). The TPM gives the secret
out, by TPM2_ActivateCredential, only if it holds the endorsement key's private half and has the object of that Name
loaded.
"""

import secrets
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from licensing.tpm_structures import sized

__all__ = ["Credential", "EndorsementPublicKey", "make_credential"]

EndorsementPublicKey = RSAPublicKey | ec.EllipticCurvePublicKey

SEED_BYTES = 32
STORAGE_KEY_BYTES = 16
"""Of AES-128, the symmetric algorithm of the endorsement keys' templates."""

COORDINATE_BYTES = 32


@dataclass(frozen=True)
class Credential:
    """What goes to the TPM. Attributes are the contents of TPM2B structures, without their lengths.

    Attributes:
        identity: of TPM2B_ID_OBJECT: the encrypted secret with its integrity value.
        encrypted_seed: of TPM2B_ENCRYPTED_SECRET: the seed, encrypted to the endorsement key.
    """

    identity: bytes
    encrypted_seed: bytes


def make_credential(endorsement_key: EndorsementPublicKey, name: bytes, secret: bytes) -> Credential:
    """Encrypts a secret to one TPM, for the time that it has one object loaded.

    Args:
        endorsement_key: RSA-2048 or P-256, of a template with SHA-256 and AES-128 in CFB mode.
        name: the Name of the object.
        secret: at most 32 bytes.
    """
    seed, encrypted_seed = _new_seed(endorsement_key)
    storage_key = _kdfa(seed, b"STORAGE", name, STORAGE_KEY_BYTES)
    integrity_key = _kdfa(seed, b"INTEGRITY", b"", SEED_BYTES)
    encryptor = Cipher(algorithms.AES(storage_key), CFB(bytes(16))).encryptor()
    encrypted = encryptor.update(sized(secret)) + encryptor.finalize()
    integrity = hmac.HMAC(integrity_key, hashes.SHA256())
    integrity.update(encrypted + name)
    return Credential(sized(integrity.finalize()) + encrypted, encrypted_seed)


def _new_seed(endorsement_key: EndorsementPublicKey) -> tuple[bytes, bytes]:
    if isinstance(endorsement_key, RSAPublicKey):
        # Annex B.4: the label of OAEP ends with a zero byte.
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\0")
        seed = secrets.token_bytes(SEED_BYTES)
        return seed, endorsement_key.encrypt(seed, oaep)
    # Annex C.6.1: one-pass ECDH, and KDFe over both x coordinates.
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    x, y = _coordinates(ephemeral.public_key())
    shared = ephemeral.exchange(ec.ECDH(), endorsement_key)
    return _kdfe(shared, b"IDENTITY", x, _coordinates(endorsement_key)[0]), sized(x) + sized(y)


def _kdfa(key: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """KDFa (TPM 2.0 Library, part 1, section 11.4.10.2): SP 800-108 in counter mode with HMAC-SHA256."""
    derivation = KBKDFHMAC(
        hashes.SHA256(), Mode.CounterMode, length, 4, 4, CounterLocation.BeforeFixed, label, context, None
    )
    return derivation.derive(key)


def _kdfe(shared: bytes, label: bytes, party_u: bytes, party_v: bytes) -> bytes:
    """KDFe (section 11.4.10.3): the concatenation derivation of SP 800-56A with SHA-256."""
    return ConcatKDFHash(hashes.SHA256(), SEED_BYTES, label + b"\0" + party_u + party_v).derive(shared)


def _coordinates(key: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    numbers = key.public_numbers()
    return numbers.x.to_bytes(COORDINATE_BYTES, "big"), numbers.y.to_bytes(COORDINATE_BYTES, "big")
