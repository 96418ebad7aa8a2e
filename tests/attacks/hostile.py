"""Hostile files: what a vendor who means harm, or was deceived, can send. They hold the right content key.

A stranger's files are not even read: authentication comes first.
"""

import io
import os
import pickle
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptors import CryptorFactory
from cryptors.index import Index, IndexedFile, build_index
from cryptors.reader import LockedModel
from cryptors.stream import encrypt_bytes
from cryptors.unpack import unpack
from licensing.errors import WeightlockError
from licensing.license import LicenseFile
from tests.attacks.attack import Outcome, Power, StoppedBy, attack
from tests.attacks.scene import AttackScene
from tests.cryptors.containers import CONTENT_KEY, container, make_header

__all__: list[str] = []

MUCH_MEMORY = 64 << 20
"""Bytes; more than a refusal of a small file may take."""


def _refused(call: Callable[[], object], gain: Any, what: str, happened: Callable[[], bool]) -> Outcome:
    """Judges a hostile file: it is refused, takes no memory to speak of, and what it wants has not happened."""
    before = _memory()
    try:
        call()
    except WeightlockError as error:
        assert not happened(), what
        if _memory() - before > MUCH_MEMORY:
            return Outcome(f"{what}: refused ({error.reason}), after it had taken its memory", StoppedBy.NOTHING, gain)
        return Outcome(f"{what}: refused ({error.reason})", StoppedBy.CHECK)
    return Outcome(f"{what}: accepted", StoppedBy.NOTHING, gain)


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Evil:
    """What makes a folder when it is unpickled, as it could do anything else."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


@attack(
    "hostile", Power.SENDER, "send a PyTorch model whose pickle runs code when it is loaded", either=StoppedBy.CHECK
)
def malicious_pickle(scene: AttackScene) -> Outcome:
    mark = scene.new_folder("pickled") / "it-ran"
    hostile = pickle.dumps({"weight": _Evil(mark)}, protocol=2)
    pickle.loads(hostile)
    mark.rmdir()  # The control: loaded as it is, it runs.
    locked = _locked(scene, "model.pth", _torch_file({"weight": _Evil(mark)}))
    cryptor = CryptorFactory.instance("torch")
    return _refused(lambda: cryptor.load(locked, crypt_key=CONTENT_KEY), "running code", "the pickle", mark.exists)


def _torch_file(value: object) -> bytes:
    import torch

    data = io.BytesIO()
    torch.save(value, data)
    return data.getvalue()


def _locked(scene: AttackScene, name: str, content: bytes) -> Path:
    locked = scene.new_folder("hostile") / "model.locked"
    locked.write_bytes(container({name: content}, index=build_index({name: len(content)}, directory=False)))
    return locked


@attack(
    "hostile",
    Power.SENDER,
    "send a PyTorch model of 130 KB whose compressed archive unpacks to 128 MiB",
    either=StoppedBy.NOTHING,
)
def decompression_bomb(scene: AttackScene) -> Outcome:
    """PyTorch itself unpacks such an archive; the factor is that of deflate, 1000, and not that of nested bombs."""
    import torch

    plain, bomb = io.BytesIO(), io.BytesIO()
    torch.save({"weight": torch.zeros(32 << 20)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    assert len(bomb.getvalue()) < 140_000
    locked = _locked(scene, "model.pth", bomb.getvalue())
    try:
        loaded = CryptorFactory.instance("torch").decrypt(locked, crypt_key=CONTENT_KEY)
    except WeightlockError as error:
        return Outcome(f"refused ({error.reason})", StoppedBy.CHECK)
    assert loaded["weight"].nbytes == 128 << 20
    return Outcome("PyTorch unpacks it: a thousand times the file's size", StoppedBy.NOTHING, "memory")


@attack(
    "hostile",
    Power.SENDER,
    "send a container whose index claims 4 GiB, or a file of petabytes, or nests 100000 brackets",
    either=StoppedBy.CHECK,
)
def index_bomb(scene: AttackScene) -> Outcome:
    index = build_index({"a": 1}, directory=True)
    small = index.to_bytes() + b"\0"
    nested = b"[" * 100_000
    claims = Index(True, (IndexedFile("a", 4096, 2**50),))
    plaintexts = {
        "an index of 4 GiB": (2**32 - 1).to_bytes(4, "big") + small[4:],
        "an index of a petabyte": claims.to_bytes() + b"\0",
        "a nested index": len(nested).to_bytes(4, "big") + nested,
    }
    refused = []
    for what, plaintext in plaintexts.items():
        header = make_header(index, len(plaintext))
        locked = scene.new_folder("hostile") / "model.locked"
        locked.write_bytes(header.prefix() + encrypt_bytes(CONTENT_KEY, header.encoded, plaintext))
        outcome = _refused(lambda path=locked: _opened(path), "memory", what, lambda: False)  # type: ignore[misc]
        if outcome.stopped_by is not StoppedBy.CHECK:
            return outcome
        refused.append(outcome.happened.rpartition("(")[2].rstrip(")"))
    return Outcome(f"refused ({' or '.join(sorted(set(refused)))}), without taking memory", StoppedBy.CHECK)


def _opened(path: Path) -> None:
    with LockedModel(path, CONTENT_KEY):
        pass


@attack(
    "hostile",
    Power.SENDER,
    "send a container whose index has paths that lead out of its folder",
    either=StoppedBy.CHECK,
)
def index_that_escapes(scene: AttackScene) -> Outcome:
    folder = scene.new_folder("escaping")
    output = folder / "output"
    control = _locked_directory(folder, "inside")
    with LockedModel(control, CONTENT_KEY) as model:
        unpack(model, output)
    assert (output / "inside").read_bytes() == b"content", "the control"
    for path in ("../escaped", str(folder / "escaped"), "a/../../escaped", "..", "a\\..\\..\\escaped"):
        locked = _locked_directory(folder, path)

        def tried(locked: Path = locked) -> None:
            with LockedModel(locked, CONTENT_KEY) as model:
                unpack(model, output, replace=True)

        outcome = _refused(tried, "running code", "the container", (folder / "escaped").exists)
        if outcome.stopped_by is not StoppedBy.CHECK:
            return outcome
    return outcome


def _locked_directory(folder: Path, path: str) -> Path:
    files = {path: b"content"}
    index = Index(True, (IndexedFile(path, 4096, len(files[path])),))
    locked = folder / "model.locked"
    locked.write_bytes(container(files, index=index))
    return locked


@attack(
    "hostile",
    Power.SENDER,
    "send a license of 5 MB, or with 100000 nested brackets, or with a number of a million digits",
    either=StoppedBy.CHECK,
)
def license_bomb(scene: AttackScene) -> Outcome:
    files = (b'{"license":"' + b"a" * 5_000_000 + b'"}', b'{"license":' + b"[" * 100_000, b'{"grants":' + b"9" * 10**6)
    for file in files:
        call = lambda data=file: LicenseFile.parse(data)  # noqa: E731 (each of them is tried once)
        outcome = _refused(call, "memory", "the license", lambda: False)
        if outcome.stopped_by is not StoppedBy.CHECK:
            return outcome
    return outcome
