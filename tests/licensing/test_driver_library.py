"""Where a library of the driver may come from: the kernel's word for it, and who could have put it there."""

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

from licensing.driver_library import DriverLibrary, judge_library, library_of, mapped_file, writer_of
from tests.fake_nvml import LIBRARY_NAME, Box, FakeGpu, FakeNvml


def judged(
    path: Path | str,
    *known: Path,
    users: tuple[str, ...] = (),
    cache: Path = Path("/missing"),
    writers: dict[str, str] | None = None,
) -> DriverLibrary:
    """Judges a path; `writers` are those who can change paths, and nobody else can."""
    return judge_library(str(path), tuple(map(str, known)), users, cache, (writers or {}).get)


# The file behind a function.


def test_file_of_a_function_is_the_one_that_holds_it() -> None:
    libc = ctypes.CDLL(None)
    found = mapped_file(ctypes.cast(libc.getpid, ctypes.c_void_p).value or 0)
    assert found is not None
    assert os.path.basename(found).startswith(("libc.", "libc-", "ld-musl"))


def test_address_without_a_file(tmp_path: Path) -> None:
    assert mapped_file(1) is None
    assert mapped_file(ctypes.addressof(ctypes.create_string_buffer(64))) is None
    assert mapped_file(1, tmp_path / "maps") is None


@pytest.mark.parametrize("address", [0x7F0000001000, 0x7F0000001FFF])
def test_lines_of_maps(address: int, tmp_path: Path) -> None:
    """The form is that of proc(5); the range ends before its second number, and names can hold spaces."""
    (tmp_path / "maps").write_text(
        "7f0000000000-7f0000001000 r--p 00000000 fe:01 42                         /usr/lib/before.so\n"
        "7f0000001000-7f0000002000 r-xp 00001000 fe:01 42                         /opt/a b/libcuda.so.1 (deleted)\n"
        "7f0000002000-7f0000003000 rw-p 00000000 00:00 0 \n"
        "7ffd00000000-7ffd00001000 rw-p 00000000 00:00 0                          [stack]\n"
    )
    assert mapped_file(address, tmp_path / "maps") == "/opt/a b/libcuda.so.1 (deleted)"
    assert mapped_file(0x7F0000002000, tmp_path / "maps") is None
    assert mapped_file(0x7FFD00000000, tmp_path / "maps") is None


# Who could have put it there.


PLACE = Path("/opt/driver/lib")
FILE = PLACE / LIBRARY_NAME


def test_file_where_drivers_are() -> None:
    assert judged(FILE, PLACE) == DriverLibrary(str(FILE))
    assert judged(FILE, Path("/opt")) == DriverLibrary(str(FILE))
    assert not judged(FILE, Path("/op"), Path("/opt/driver/li")).is_known


def test_place_with_a_version() -> None:
    assert judged("/usr/local/cuda-12.8/compat/libcuda.so.1", Path("/usr/local/cuda")).is_known
    assert not judged("/usr/local/cudax/libcuda.so.1", Path("/usr/local/cuda")).is_known


def test_file_that_others_can_change() -> None:
    found = judged(FILE, PLACE, writers={str(FILE): "every user"})
    assert found == DriverLibrary(str(FILE), f"every user can change '{FILE}'")


@pytest.mark.parametrize("place", [PLACE, Path("/opt"), Path("/")])
def test_directory_that_others_can_change(place: Path) -> None:
    """It matters where drivers are not. Apptainer's directory of drivers belongs to the user, its files to root."""
    writers = {str(place): "the user 1000"}
    assert judged(FILE, writers=writers).doubt == f"the user 1000 can change '{place}'"
    assert judged(FILE, PLACE, writers=writers).doubt is None


def test_file_of_root_where_drivers_are_not_is_odd_and_no_more() -> None:
    assert judged(FILE) == DriverLibrary(str(FILE), None, is_known=False)


ROOT, USER, NOBODY = 0, 1000, 65534


@pytest.mark.parametrize(
    ("owner", "mode", "can_write", "writer"),
    [
        (ROOT, 0o100755, False, None),
        (NOBODY, 0o100644, False, None),  # Root's, where a container does not know root.
        (USER, 0o100444, False, "the user 1000"),
        (ROOT, 0o100666, False, "every user"),
        (ROOT, 0o40777, False, "every user"),
        (ROOT, 0o41777, True, None),
        (ROOT, 0o100664, True, "the user of this process"),
        (ROOT, 0o100664, False, None),
    ],
)
def test_who_can_change_a_file(owner: int, mode: int, can_write: bool, writer: str | None) -> None:
    status = os.stat_result((mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))
    assert writer_of("/any", lambda path: status, lambda path: can_write) == writer


def test_file_that_is_gone() -> None:
    assert writer_of("/missing/libcuda.so.1") is None


def test_own_file(tmp_path: Path) -> None:
    """By default the system is asked: root's own files are root's, everybody else's are not."""
    expected = None if os.geteuid() == 0 else f"the user {os.geteuid()}"
    assert writer_of(str(tmp_path)) == expected


def test_file_among_those_of_users() -> None:
    """Whoever owns it: in a container, the user is root."""
    found = judged(FILE, users=("/opt",))
    assert found.doubt == "it lies where users and programs keep files of their own"
    assert judged(FILE, PLACE, users=("/opt",)).doubt is None
    for path in ("/tmp/libnvidia-ml.so.1", "/home/me/lib/libcuda.so.1", "/root/l.so", "/dev/shm/l.so"):
        assert judge_library(path).doubt is not None


def test_places_of_real_boxes() -> None:
    for path in (
        "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.159.04",
        "/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.535.247.01",
        "/usr/lib64/libcuda.so.580.159.04",
        "/usr/lib/wsl/drivers/nv_dispi.inf_amd64_1/libcuda.so.1.1",
        "/usr/local/cuda-12.8/compat/libcuda.so.570.86.10",
        "/usr/local/nvidia/lib64/libcuda.so.1",
        "/home/kubernetes/bin/nvidia/lib64/libcuda.so.535.104.12",
        "/nix/store/0c5e-nvidia-x11-570/lib/libcuda.so.570.133.07",
        "/.singularity.d/libs/libnvidia-ml.so.1",
    ):
        assert judge_library(path, writer=lambda path: None) == DriverLibrary(path), path


def test_library_that_an_update_replaced_meanwhile() -> None:
    path = "/usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15"
    assert judge_library(f"{path} (deleted)", writer=lambda path: None) == DriverLibrary(path)


def test_library_in_memory() -> None:
    assert judge_library("/memfd:libcuda.so.1 (deleted)").doubt == "it is a file in memory"


def test_place_that_the_loader_knows(tmp_path: Path) -> None:
    """Also by a name that links to it, as the loader's cache has it and the kernel has not."""
    library, link = tmp_path / "libcuda.so.580.1", tmp_path / "libcuda.so.1"
    library.write_bytes(b"")
    link.symlink_to(library.name)
    cache, users = tmp_path / "ld.so.cache", (str(tmp_path),)
    cache.write_bytes(b"glibc-ld.so.cache1.1\0\0\0libcuda.so.1\0" + os.fsencode(link) + b"\0/lib/libc.so.6\0")
    assert judged(library, users=users, cache=cache) == DriverLibrary(str(library))
    assert judged(tmp_path / "libcuda.so.2", users=users, cache=cache).doubt is not None
    cache.write_bytes(b"\0" + os.fsencode(tmp_path / "libother.so.1") + b"\0")
    assert judged(library, users=users, cache=cache).doubt is not None


def test_cache_of_this_system_names_what_the_loader_finds() -> None:
    """The names are found in the real cache, too: the form is the one that ldconfig writes."""
    data = Path("/etc/ld.so.cache").read_bytes() if Path("/etc/ld.so.cache").exists() else b""
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    paths = [line.rpartition(" => ")[2] for line in listed.splitlines() if " => " in line]
    assert all(path.encode() + b"\0" in data for path in paths)


# What a reading of the GPUs says of it.

READ_LIBRARY = """
import dataclasses, json
from licensing.gpus import read_gpus
print(json.dumps(dataclasses.asdict(read_gpus().library)))
"""


def test_reading_names_the_library_of_the_search_path(fake_nvml: FakeNvml) -> None:
    found = fake_nvml.run(READ_LIBRARY, box=Box(gpus=(FakeGpu("GPU-00000000-0000-4000-8000-000000000000"),)))
    assert found["path"] == str(fake_nvml.library / LIBRARY_NAME)
    assert judge_library(found["path"]).doubt == found["doubt"]


def test_library_that_was_loaded_before_under_another_name(
    fake_nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LD_PRELOAD of a library that calls itself NVML's: the loader takes it for the one that is asked for by name."""
    preloaded = tmp_path / "innocent.so"
    source = Path(__file__).parents[1] / "fake_nvml" / "nvml.c"
    command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY_NAME}", "-o", str(preloaded), str(source)]
    subprocess.run(command, check=True)
    monkeypatch.setenv("LD_PRELOAD", str(preloaded))
    found = fake_nvml.run(READ_LIBRARY, box=Box(gpus=(FakeGpu("GPU-00000000-0000-4000-8000-000000000000"),)))
    assert found["path"] == str(preloaded)


def test_function_of_no_library() -> None:
    callback = ctypes.CFUNCTYPE(None)(lambda: None)
    assert library_of(callback) is None
