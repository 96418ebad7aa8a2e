"""What others offer for encrypted weights, used as their documentation says, on the same tensors.

None of them is needed: they are measured where they are installed. Each has a job that makes its file, from a
plaintext model, and one that loads it.
"""

import base64
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cryptors import CryptorFactory
from cryptors.frameworks import import_framework
from licensing.content_key import read_content_key
from tools.bench.jobs import Arguments, Job, timed
from tools.bench.loads import PLAIN, touch

__all__ = ["PEER_JOBS", "PEER_MODULES"]

PEER_MODULES = {"cryptotensors": "cryptotensors", "tensorizer": "tensorizer", "one_shot": "torch", "fernet": "torch"}
"""The peers, each with the module that it takes."""

NONCE_BYTES = 12


def _key(arguments: Arguments) -> bytes:
    return read_content_key(arguments["key"].encode())


def _tensors(arguments: Arguments) -> dict[str, Any]:
    tensors: dict[str, Any] = PLAIN[arguments["type"]](Path(arguments["path"]))()
    return tensors


def make_fernet(arguments: Arguments) -> Job:
    """Encrypts a file as the toolkit did that this project began with: the whole of it as one Fernet token."""
    fernet, source = Fernet(arguments["key"].encode()), Path(arguments["path"])
    return lambda threads: timed(lambda: Path(arguments["output"]).write_bytes(fernet.encrypt(source.read_bytes())))


def fernet(arguments: Arguments) -> Job:
    """Loads it: decrypts the token, and loads what came out."""
    import_framework("torch", "torch")
    cryptor = CryptorFactory.instance("torch")
    return lambda threads: timed(lambda: cryptor.decrypt(arguments["output"], arguments["key"].encode()), touch)


def make_one_shot(arguments: Arguments) -> Job:
    """Encrypts a file with one call of AES-256-GCM, as one writes it first."""

    def call() -> None:
        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(_key(arguments)).encrypt(nonce, Path(arguments["path"]).read_bytes(), None)
        with open(arguments["output"], "wb") as file:
            file.write(nonce)
            file.write(sealed)

    return lambda threads: timed(call)


def one_shot(arguments: Arguments) -> Job:
    """Loads it: reads the file, decrypts it with one call, and loads what came out."""
    torch, key = import_framework("torch", "torch"), _key(arguments)

    def call() -> Any:
        with open(arguments["output"], "rb") as file:
            nonce, sealed = file.read(NONCE_BYTES), file.read()
        plaintext = AESGCM(key).decrypt(nonce, sealed, None)
        return torch.load(io.BytesIO(plaintext), map_location="cpu", weights_only=True)

    return lambda threads: timed(call, touch)


def make_tensorizer(arguments: Arguments) -> Job:
    """Writes the tensors with tensorizer's encryption."""
    tensorizer = import_framework("tensorizer", "torch")

    def call() -> None:
        serializer = tensorizer.TensorSerializer(
            arguments["output"], encryption=tensorizer.EncryptionParams(_key(arguments))
        )
        serializer.write_state_dict(_tensors(arguments))
        serializer.close()

    return lambda threads: timed(call)


def tensorizer(arguments: Arguments) -> Job:
    """Loads all of its tensors, with as many readers as threads."""
    module, key = import_framework("tensorizer", "torch"), _key(arguments)

    def call(threads: int) -> Any:
        keys = module.DecryptionParams.from_key(key)
        with module.TensorDeserializer(
            arguments["output"], device="cpu", encryption=keys, num_readers=threads
        ) as tensors:
            return dict(tensors.items())

    return lambda threads: timed(lambda: call(threads), touch)


def _cryptotensors_keys(arguments: Arguments) -> tuple[dict[str, str], dict[str, str]]:
    """Returns cryptotensors' two keys, both from the run's one key: the process that reads needs them as well."""
    key = _key(arguments)
    seed = hashlib.sha256(b"bench signing key" + key).digest()
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    k, d, x = (base64.b64encode(part).decode() for part in (key, seed, public))
    return (
        {"kty": "oct", "alg": "aes256gcm", "kid": "bench", "k": k},
        {"kty": "okp", "alg": "ed25519", "crv": "Ed25519", "kid": "bench-signing", "x": x, "d": d},
    )


def make_cryptotensors(arguments: Arguments) -> Job:
    """Writes the tensors with cryptotensors' encryption and signature."""
    module = import_framework("cryptotensors.torch", "torch")
    encryption, signing = _cryptotensors_keys(arguments)
    keys = {"enc_key": encryption, "sign_key": signing}
    return lambda threads: timed(lambda: module.save_file(_tensors(arguments), arguments["output"], config=keys))


def cryptotensors(arguments: Arguments) -> Job:
    """Loads all of its tensors; it takes its number of threads from the environment, when the worker starts."""
    module = import_framework("cryptotensors.torch", "torch")
    keys = list(_cryptotensors_keys(arguments))
    import_framework("cryptotensors", "torch").register_direct_key_provider(keys=keys)
    return lambda threads: timed(lambda: module.load_file(arguments["output"]), touch)


PEER_JOBS: dict[str, Callable[[Arguments], Job]] = {
    job.__name__: job
    for pair in (
        (make_fernet, fernet),
        (make_one_shot, one_shot),
        (make_tensorizer, tensorizer),
        (make_cryptotensors, cryptotensors),
    )
    for job in pair
}
