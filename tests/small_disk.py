"""A small disk: a memory file system of a test's own, in a mount namespace that nobody else sees.

It is reached through /proc, like any other directory, by this process too; but not by SQLite, which resolves links by
their text. As root it needs no more than `unshare` and `mount`; other users need a kernel that lets them make user
namespaces.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components import need

__all__ = ["SmallDisk", "small_disk"]


class SmallDisk:
    """One disk.

    Args:
        mount_point: an empty directory; it stays empty for everybody else.
        size: its capacity in bytes.

    Attributes:
        path: where everybody finds it.
        path_inside: where a process finds it that is started through `enter`.
        enter: a prefix for commands.
    """

    def __init__(self, mount_point: Path, size: int) -> None:
        need("unshare")
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        script = 'mount -t tmpfs -o "size=$2" tmpfs "$1" && echo mounted && exec cat'
        self._process = subprocess.Popen(
            ["unshare", *user, "--mount", "--propagation", "private", "sh", "-c", script, "sh", mount_point, str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"mounted\n":
            pytest.skip("needs to mount a small disk in a mount namespace: as root, or with user namespaces")
        self.path = Path(f"/proc/{self._process.pid}/root{mount_point.absolute()}")
        self.path_inside = mount_point
        self.enter = ["nsenter", f"--target={self._process.pid}", "--mount"]
        self.enter += [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]

    def fill(self, leave: int = 0) -> None:
        """Fills the disk with a file, leaving some bytes free."""
        filler = self.path / "filler"
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:  # Until there is no space left.
                file.write(bytes(65536))
        assert os.statvfs(self.path).f_bavail == 0
        os.truncate(filler, filler.stat().st_size - leave)

    def free(self) -> None:
        """Gives the filler's space back."""
        (self.path / "filler").unlink()

    def make_read_only(self) -> None:
        """Forbids every change from now on."""
        subprocess.run([*self.enter, "mount", "-o", "remount,ro", self.path_inside], check=True)

    def close(self) -> None:
        """Ends the process, with which the disk vanishes."""
        self._process.communicate()


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    """Returns an empty disk of eight megabytes."""
    disk = SmallDisk(tmp_path_factory.mktemp("disk"), 8_000_000)
    yield disk
    disk.close()
