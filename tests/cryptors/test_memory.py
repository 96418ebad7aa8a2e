"""Plaintext memory leaves nothing behind, stays out of core dumps, and cannot be changed once it is sealed."""

import ctypes
import mmap
import os

import pytest

from cryptors.memory import PlaintextFile, PlaintextMemory, wipe

PAGE = mmap.PAGESIZE
SIZES = [1, PAGE - 1, PAGE, 5 * 1024 * 1024 + 1]


def facts_of(view: memoryview, name: str) -> list[str]:
    """Returns what the kernel says of the mapping that memory lies in: /proc/self/smaps, proc(5)."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(view))
    inside = False
    with open("/proc/self/smaps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            first, *rest = line.split()
            if "-" in first and not first.endswith(":"):
                start, end = (int(number, 16) for number in first.split("-"))
                inside = start <= address < end
            elif inside and first == name:
                return rest
    raise AssertionError("the memory is not mapped")


@pytest.mark.parametrize("size", [0, *SIZES, 3 * 1024 * 1024])
def test_wipe(size: int) -> None:
    data = bytearray(b"\xaa" * size)
    wipe(memoryview(data))
    assert data == bytes(size)


def test_wipe_of_other_items_than_bytes() -> None:
    data = bytearray(b"\xaa" * 80)
    wipe(memoryview(data).cast("Q"))
    assert data == bytes(80)


@pytest.mark.parametrize("size", SIZES)
def test_memory_is_wiped_also_for_those_who_still_hold_it(size: int) -> None:
    with PlaintextMemory(size) as memory:
        assert len(memory.view) == size
        memory.view[:] = b"\xaa" * size
        held = memory.view[:]
    assert bytes(held) == bytes(size)


def test_memory_is_wiped_after_an_error() -> None:
    memory = PlaintextMemory(100)
    held = memory.view[:]

    def interrupted() -> None:
        with memory:
            memory.view[:] = b"\xaa" * 100
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert bytes(held) == bytes(100)


@pytest.mark.parametrize("size", SIZES)
def test_memory_is_left_out_of_core_dumps(size: int) -> None:
    with PlaintextMemory(size) as memory, PlaintextFile(size) as file:
        for view in (memory.view, file.view):
            assert "dd" in facts_of(view, "VmFlags:")
    assert "dd" not in facts_of(memoryview(bytearray(size)), "VmFlags:"), (
        "other memory is dumped, so the flag tells something"
    )


def test_empty_memory() -> None:
    with PlaintextMemory(0) as memory:
        assert len(memory.view) == 0
    with PlaintextFile(0) as file:
        file.seal()
        with open(file.path, "rb") as opened:
            assert opened.read() == b""


@pytest.mark.parametrize("size", SIZES)
def test_sealed_file_reads_back_and_cannot_be_changed(size: int) -> None:
    data = os.urandom(size)
    with PlaintextFile(size) as file:
        file.view[:] = data
        file.seal()
        with open(file.path, "rb") as opened:
            assert opened.read() == data

        descriptor = os.open(file.path, os.O_RDWR)
        with pytest.raises(PermissionError):
            os.write(descriptor, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size + 1)
        with pytest.raises(PermissionError):
            mmap.mmap(descriptor, size)
        os.close(descriptor)
        with open(file.path, "rb") as opened:
            assert opened.read() == data


def test_file_lies_in_no_file_system() -> None:
    with PlaintextFile(10) as file:
        assert os.readlink(file.path) == "/memfd:weightlock (deleted)"


def test_closed_file_has_no_path_any_more() -> None:
    with PlaintextFile(10) as file:
        file.seal()
        path = file.path
    assert not os.path.exists(path)
    file.close()


def test_file_that_was_never_sealed_is_wiped() -> None:
    """Another process that has it mapped, or another descriptor, must not go on seeing the plaintext."""
    with PlaintextFile(PAGE) as file:
        file.view[:] = b"\xaa" * PAGE
        descriptor = os.open(file.path, os.O_RDONLY)
    assert os.pread(descriptor, PAGE, 0) == bytes(PAGE)
    os.close(descriptor)


def test_file_is_closed_and_wiped_also_for_those_who_still_hold_a_part() -> None:
    """A call that failed holds parts of the view until its traceback goes."""
    file = PlaintextFile(100)
    file.view[:] = bytes([7]) * 100
    part, path = file.view[10:20], file.path
    file.close()
    assert bytes(part) == bytes(10)
    assert not os.path.lexists(path)


def test_child_does_not_inherit_the_file() -> None:
    with PlaintextFile(10) as file:
        assert not os.get_inheritable(int(file.path.rpartition("/")[2]))


def test_wiping_takes_no_memory_for_what_was_never_used() -> None:
    """An interrupt early in the loading of a large model would otherwise have to wait for all its pages."""
    size = 64 * 1024 * 1024
    memory = PlaintextMemory(size)
    held = memory.view[:]
    held[:1000] = b"\xaa" * 1000
    wipe(memory.view)
    assert held[:1000] == bytes(1000)
    assert int(facts_of(held, "Rss:")[0]) <= 4 * 1024, "kilobytes"


def test_closing_a_file_takes_no_memory_for_what_was_never_used() -> None:
    size = 64 * 1024 * 1024
    file = PlaintextFile(size)
    file.view[:1000] = b"\xaa" * 1000
    file.view[size // 2 : size // 2 + 5] = b"\xaa" * 5
    descriptor = os.open(file.path, os.O_RDONLY)
    file.close()
    assert os.fstat(descriptor).st_blocks * 512 <= 8 * 1024 * 1024
    assert os.pread(descriptor, 1000, 0) == bytes(1000)
    assert os.pread(descriptor, 5, size // 2) == bytes(5)
    os.close(descriptor)
