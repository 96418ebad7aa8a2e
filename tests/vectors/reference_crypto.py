"""The cryptography of docs/spec/license.md, written from the specification alone and for reading, not for speed.

Nothing here imports the packages under test. Everything is deterministic: what the specification wants random comes
from `pseudo_random`, so that anybody can make the same vectors again.
"""

import base64
import hashlib
import hmac
import json
import math
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

HASH_BYTES = 32
RSA_BITS = 3072
RSA_EXPONENT = 65537


def pseudo_random(label: str, size: int) -> bytes:
    """Returns the fixed bytes that stand for random ones: SHAKE-256 of a label."""
    return hashlib.shake_256(b"weightlock test vectors: " + label.encode()).digest(size)


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def canonical(value: object) -> str:
    """RFC 8785 for dicts, lists, strings, integers, booleans and None."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def framed(*parts: bytes) -> bytes:
    """Section 2.3."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def hkdf(input_key: bytes, salt: bytes, info: bytes, size: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869) for one block of output."""
    pseudo_random_key = hmac.digest(salt, input_key, "sha256")
    return hmac.digest(pseudo_random_key, info + b"\x01", "sha256")[:size]


def mgf1(seed: bytes, size: int) -> bytes:
    """MGF1 with SHA-256 (RFC 8017, B.2.1)."""
    blocks = range(math.ceil(size / HASH_BYTES))
    return b"".join(sha256(seed + number.to_bytes(4, "big")) for number in blocks)[:size]


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


SMALL_PRIMES = [number for number in range(2, 2000) if all(number % divisor for divisor in range(2, number))]


def is_prime(candidate: int) -> bool:
    """Miller-Rabin with the first 40 primes as bases: for numbers that nobody chose to deceive it, certainty enough."""
    if any(candidate % divisor == 0 for divisor in SMALL_PRIMES):
        return False
    twos = ((candidate - 1) & -(candidate - 1)).bit_length() - 1
    for base in SMALL_PRIMES[:40]:
        power = pow(base, (candidate - 1) >> twos, candidate)
        if power in (1, candidate - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % candidate
            if power == candidate - 1:
                break
        else:
            return False
    return True


def prime(label: str, bits: int) -> int:
    """Returns the first suitable RSA prime from a fixed starting point whose two highest bits are set."""
    candidate = int.from_bytes(pseudo_random(label, bits // 8), "big") | (3 << (bits - 2)) | 1
    while math.gcd(candidate - 1, RSA_EXPONENT) != 1 or not is_prime(candidate):
        candidate += 2
    return candidate


@dataclass(frozen=True)
class RsaKey:
    """An RSA key pair as plain integers."""

    p: int
    q: int

    @classmethod
    def fixed(cls, label: str) -> "RsaKey":
        """Returns the key pair of a label; p is the larger prime."""
        primes = sorted((prime(f"{label}, p", RSA_BITS // 2), prime(f"{label}, q", RSA_BITS // 2)))
        return cls(primes[1], primes[0])

    @property
    def n(self) -> int:
        return self.p * self.q

    @property
    def d(self) -> int:
        return pow(RSA_EXPONENT, -1, math.lcm(self.p - 1, self.q - 1))

    def private_operation(self, number: int) -> int:
        """RSASP1 (RFC 8017, 5.2.1) in its second form, which is four times as fast as the first."""
        of_p, of_q = pow(number, self.d % (self.p - 1), self.p), pow(number, self.d % (self.q - 1), self.q)
        return of_q + self.q * ((of_p - of_q) * pow(self.q, -1, self.p) % self.p)

    def jwk(self) -> dict[str, str]:
        return {"kty": "RSA", "n": b64(self.n.to_bytes(RSA_BITS // 8, "big")), "e": b64(b"\x01\x00\x01")}

    def pkcs8(self) -> bytes:
        """The private key as unencrypted PKCS #8 in DER, which the library writes in one way only."""
        public = rsa.RSAPublicNumbers(RSA_EXPONENT, self.n)
        numbers = rsa.RSAPrivateNumbers(
            self.p, self.q, self.d, self.d % (self.p - 1), self.d % (self.q - 1), pow(self.q, -1, self.p), public
        )
        return numbers.private_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def oaep_encrypt(key: RsaKey, message: bytes, seed: bytes) -> bytes:
    """RSAES-OAEP (RFC 8017, 7.1.1) with SHA-256, an empty label and a given seed."""
    size = RSA_BITS // 8
    padding = bytes(size - len(message) - 2 * HASH_BYTES - 2)
    block = sha256(b"") + padding + b"\x01" + message
    masked_block = xor(block, mgf1(seed, len(block)))
    masked_seed = xor(seed, mgf1(masked_block, HASH_BYTES))
    number = int.from_bytes(b"\x00" + masked_seed + masked_block, "big")
    return pow(number, RSA_EXPONENT, key.n).to_bytes(size, "big")


def pss_sign(key: RsaKey, message: bytes, salt: bytes) -> bytes:
    """RSASSA-PSS (RFC 8017, 8.1.1 and 9.1.1) with SHA-256 and a given salt."""
    size = RSA_BITS // 8
    digest = sha256(bytes(8) + sha256(message) + salt)
    block = bytes(size - len(salt) - HASH_BYTES - 2) + b"\x01" + salt
    masked = bytearray(xor(block, mgf1(digest, len(block))))
    masked[0] &= 0x7F  # The encoded message has one bit less than the modulus.
    number = int.from_bytes(bytes(masked) + digest + b"\xbc", "big")
    return key.private_operation(number).to_bytes(size, "big")


class Signer(Protocol):
    """A private key that signs JWS."""

    algorithm: str

    def jwk(self) -> dict[str, str]: ...

    def sign(self, data: bytes) -> bytes: ...


class Ed25519Signer:
    algorithm = "EdDSA"

    def __init__(self, label: str) -> None:
        self.seed = pseudo_random(label, 32)
        self._key = Ed25519PrivateKey.from_private_bytes(self.seed)

    def jwk(self) -> dict[str, str]:
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(public)}

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


class Es256Signer:
    """ECDSA with the nonces of RFC 6979, which make signatures repeatable."""

    algorithm = "ES256"

    def __init__(self, label: str) -> None:
        # The highest bit is cleared so that the number is below the order of the group.
        self.scalar = int.from_bytes(pseudo_random(label, 32), "big") >> 1
        self._key = ec.derive_private_key(self.scalar, ec.SECP256R1())

    def jwk(self) -> dict[str, str]:
        point = self._key.public_key().public_numbers()
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": b64(point.x.to_bytes(32, "big")),
            "y": b64(point.y.to_bytes(32, "big")),
        }

    def sign_der(self, data: bytes) -> bytes:
        return self._key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True))

    def sign(self, data: bytes) -> bytes:
        r, s = decode_dss_signature(self.sign_der(data))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Ps256Signer:
    algorithm = "PS256"

    def __init__(self, key: RsaKey, salt_bytes: int = HASH_BYTES) -> None:
        self.key = key
        self._salt_bytes = salt_bytes

    def jwk(self) -> dict[str, str]:
        return self.key.jwk()

    def sign(self, data: bytes) -> bytes:
        """The salt follows from the data, so that two texts never share one."""
        return pss_sign(self.key, data, pseudo_random(f"PSS salt for {sha256(data).hex()}", self._salt_bytes))


def thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638."""
    return b64(sha256(canonical(jwk).encode()))


def jws(signer: Signer, typ: str, payload: str, header: str | None = None) -> str:
    """A JWS in compact form; `header` replaces the right header, for bad vectors."""
    if header is None:
        header = canonical({"alg": signer.algorithm, "kid": thumbprint(signer.jwk()), "typ": typ})
    signed = b64(header.encode()) + "." + b64(payload.encode())
    return signed + "." + b64(signer.sign(signed.encode()))


def pem(label: str, der: bytes) -> str:
    """RFC 7468."""
    text = base64.b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def encrypted_pkcs8(pkcs8: bytes, password: bytes, salt: bytes, iv: bytes, iterations: int = 2048) -> bytes:
    """PKCS #8 under PBES2 with PBKDF2, HMAC-SHA256 and AES-256-CBC, in DER (RFC 5958, RFC 8018)."""
    key = hashlib.pbkdf2_hmac("sha256", password, salt, iterations, 32)
    padding = 16 - len(pkcs8) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(pkcs8 + bytes([padding]) * padding) + encryptor.finalize()
    pbkdf2, hmac_sha256 = _oid("2a864886f70d01050c"), _oid("2a864886f70d0209")
    aes_256_cbc, pbes2 = _oid("60864801650304012a"), _oid("2a864886f70d01050d")
    count = _der(0x02, iterations.to_bytes(2, "big"))
    derivation = _der(0x30, pbkdf2, _der(0x30, _der(0x04, salt), count, _der(0x30, hmac_sha256, _der(0x05))))
    scheme = _der(0x30, aes_256_cbc, _der(0x04, iv))
    return _der(0x30, _der(0x30, pbes2, _der(0x30, derivation, scheme)), _der(0x04, ciphertext))


def _oid(content: str) -> bytes:
    return _der(0x06, bytes.fromhex(content))


def _der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
