"""What is measured: each job prepares everything outside of the time, and then runs once for each call.

A job is made from the arguments that came through the worker's pipe, and is called with a number of threads. It
returns seconds by name: "call" is the call alone, "touched" includes reading every page of what it returned.
"""

import gc
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cryptors import CryptorFactory, EncryptOptions
from cryptors.frameworks import import_framework
from cryptors.memory import PlaintextMemory
from cryptors.reader import LockedModel
from cryptors.stream import SEGMENT_BYTES
from licensing.content_key import read_content_key
from tools.bench.loads import LAZY, MODULES, PLAIN, touch
from tools.bench.makers import MAKERS
from tools.bench.settings import MIB

__all__ = ["JOBS", "Arguments", "Job", "Seconds", "timed"]

Arguments = dict[str, Any]
Seconds = dict[str, float]
Job = Callable[[int], Seconds]

LIMIT_BYTES = 256 * MIB
"""The ciphertexts of the limit, each decrypted several times in a larger run: far more than processors cache."""

WINDOW_BYTES = 1280 * MIB
"""Memory that `decrypt` decrypts into: all of a model of 1 GiB, and a larger one in parts."""

TAG_BYTES = 16


def timed(call: Callable[[], Any], touch: Callable[[Any], None] | None = None) -> Seconds:
    """Times a call, and what touches its result; the result is gone when this returns."""
    gc.collect()
    began = time.perf_counter()
    result = call()
    seconds = {"call": time.perf_counter() - began}
    if touch is not None:
        touch(result)
        seconds["touched"] = time.perf_counter() - began
    return seconds


def limit(arguments: Arguments) -> Job:
    """Decrypts distinct segments from memory into memory that was touched before: what AES-256-GCM takes by itself."""
    count = arguments["bytes"] // SEGMENT_BYTES
    kept = min(count, LIMIT_BYTES // SEGMENT_BYTES)
    aead = AESGCM(AESGCM.generate_key(256))
    sealed_bytes = SEGMENT_BYTES + TAG_BYTES
    ciphertexts, plaintexts = PlaintextMemory(kept * sealed_bytes).view, PlaintextMemory(kept * SEGMENT_BYTES).view

    def parts(number: int) -> tuple[bytes, memoryview, memoryview]:
        place = number % kept
        sealed = ciphertexts[place * sealed_bytes : (place + 1) * sealed_bytes]
        return place.to_bytes(12, "big"), sealed, plaintexts[place * SEGMENT_BYTES : (place + 1) * SEGMENT_BYTES]

    for number in range(kept):
        nonce, sealed, plaintext = parts(number)
        plaintext[:] = os.urandom(64) * (SEGMENT_BYTES // 64)
        aead.encrypt_into(nonce, plaintext, None, sealed)

    def decrypt(number: int) -> None:
        nonce, sealed, plaintext = parts(number)
        aead.decrypt_into(nonce, sealed, None, plaintext)

    return lambda threads: timed(lambda: _on_threads(threads, count, decrypt))


def _on_threads(threads: int, count: int, task: Callable[[int], None]) -> None:
    """Calls a task for every number; with threads of its own, so that this limit owes nothing to the cryptors'."""
    numbers, lock = iter(range(count)), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            task(number)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def decrypt(arguments: Arguments) -> Job:
    """Decrypts a locked model into memory that was touched before, as every cryptor does it."""
    path, key = Path(arguments["locked"]), read_content_key(arguments["key"].encode())
    view = PlaintextMemory(min(arguments["bytes"] + MIB, WINDOW_BYTES)).view
    view[::4096] = bytes(len(view[::4096]))

    def run(threads: int) -> Seconds:
        with LockedModel(path, key, threads) as model:
            total = model.header.plaintext_bytes

            def call() -> None:
                for offset in range(0, total, len(view)):
                    model.read_into(offset, view[: min(len(view), total - offset)])

            return timed(call)

    return run


def plain(arguments: Arguments) -> Job:
    """Loads a plaintext model as its framework's users do."""
    call = PLAIN[arguments["type"]](Path(arguments["path"]))
    return lambda threads: timed(call, touch)


def locked(arguments: Arguments) -> Job:
    """Loads a locked model."""
    _import_modules(arguments["type"])
    cryptor = CryptorFactory.instance(arguments["type"])
    path, key = arguments["locked"], arguments["key"].encode()
    return lambda threads: timed(lambda: cryptor.load(path, key, threads=threads), touch)


def plain_lazy(arguments: Arguments) -> Job:
    """Takes one tensor out of a plaintext model."""
    call = LAZY[arguments["type"]](Path(arguments["path"]), arguments["tensor"])
    return lambda threads: timed(call, touch)


def locked_lazy(arguments: Arguments) -> Job:
    """Takes one tensor out of a locked model."""
    _import_modules(arguments["type"])
    cryptor = CryptorFactory.instance(arguments["type"])
    path, key, name = arguments["locked"], arguments["key"].encode(), arguments["tensor"]

    def call(threads: int) -> Any:
        with cryptor.load(path, key, lazy=True, threads=threads) as tensors:
            return tensors[name]

    return lambda threads: timed(lambda: call(threads), touch)


def encrypt(arguments: Arguments) -> Job:
    """Encrypts a model; the cryptor flushes what it wrote to the disk."""
    cryptor, key, output = CryptorFactory.instance(arguments["type"]), arguments["key"].encode(), arguments["output"]

    def run(threads: int) -> Seconds:
        options = EncryptOptions(threads=threads)
        seconds = timed(lambda: cryptor.encrypt(arguments["path"], key, output, options))
        os.unlink(output)
        return seconds

    return run


def copy(arguments: Arguments) -> Job:
    """Copies a file with `cp`, and flushes the copy to the disk."""
    output = arguments["output"]

    def call() -> None:
        subprocess.run(["cp", arguments["path"], output], check=True)
        descriptor = os.open(output, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def run(threads: int) -> Seconds:
        seconds = timed(call)
        os.unlink(output)
        return seconds

    return run


def make(arguments: Arguments) -> Job:
    """Makes a model of a type from the random one."""
    _, maker = MAKERS[arguments["type"]]
    return lambda threads: timed(lambda: maker(Path(arguments["base"]), Path(arguments["path"])))


def _import_modules(kind: str) -> None:
    """Imports what a cryptor would import on first use, outside of the time."""
    for module in MODULES[kind]:
        import_framework(module, CryptorFactory.instance(kind).extra)


JOBS: dict[str, Callable[[Arguments], Job]] = {
    job.__name__: job for job in (limit, decrypt, plain, locked, plain_lazy, locked_lazy, encrypt, copy, make)
}
