"""Memory that cannot be had: one error with one reason, whoever asked for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from cryptors.base import framework_errors
from cryptors.errors import CryptorError, MemoryUnavailableError, ModelRejectedError
from cryptors.memory import PlaintextFile, PlaintextMemory, new_mapping
from tests.cryptors.containers import write_container
from tools.exit_codes import exit_code

MIB = 1024 * 1024

# What frameworks said when they were asked for an impossible amount: PyTorch, TensorFlow, Paddle, ONNX Runtime,
# OpenVINO, NumPy and Python, as tried; PyTorch on a GPU and TensorRT, as read in reports of their users.
SHORTAGES = [
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 1125899906842624 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("OOM when allocating tensor with shape[1048576,1048576,100] and type float on /job:localhost by cpu"),
    MemoryError("(ResourceExhausted) Fail to alloc memory of 439804651110400 size, error code is 12.\n  [Hint: …]"),
    RuntimeError(
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running ConstantOfShape node. "
        "bfc_arena.cc:359 Failed to allocate memory for requested buffer of size 140737488355328\n"
    ),
    RuntimeError("Exception from src/core/src/runtime/allocator.cpp:79:\nstd::bad_alloc\n"),
    MemoryError("Unable to allocate 8.00 PiB for an array with shape (1125899906842624,) and data type float64"),
    MemoryError(),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.15 GiB"),
    RuntimeError("Error Code 2: OutOfMemory (Requested size was 1073741824 bytes.)"),
]


@pytest.mark.parametrize("error", SHORTAGES)
def test_frameworks_say_it_in_many_ways(error: Exception) -> None:
    with pytest.raises(MemoryUnavailableError, match="not enough memory") as caught, framework_errors("onnx"):
        raise error
    assert caught.value.reason == "out_of_memory"
    assert caught.value.__cause__ is error
    assert caught.value.hints
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("error", SHORTAGES)
def test_also_where_a_cryptor_took_it_for_a_bad_model(error: Exception) -> None:
    with pytest.raises(MemoryUnavailableError) as caught, framework_errors("onnx"):
        raise ModelRejectedError("the framework does not accept the program") from error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("text", ["unknown opcode", "the memory format is not supported", "allocation order differs"])
def test_other_errors_are_what_they_were(text: str) -> None:
    with pytest.raises(ModelRejectedError), framework_errors("onnx"):
        raise RuntimeError(text)
    with pytest.raises(ModelRejectedError, match="as it is"), framework_errors("onnx"):
        raise ModelRejectedError("as it is") from RuntimeError(text)


def test_it_is_an_error_of_ours_and_of_pythons() -> None:
    """Whoever catches MemoryError goes on catching it."""
    assert issubclass(MemoryUnavailableError, CryptorError)
    assert issubclass(MemoryUnavailableError, MemoryError)
    assert exit_code(MemoryUnavailableError("")) == 1


@pytest.mark.parametrize("take", [PlaintextMemory, PlaintextFile, new_mapping])
@pytest.mark.parametrize("size", [2**55, 2**62])
def test_more_than_there_can_be(take: type, size: int) -> None:
    with pytest.raises(MemoryUnavailableError, match=str(size)) as caught:
        take(size)
    assert caught.value.__cause__ is not None


LIMITED = """
import resource, sys, threading
from cryptors.errors import MemoryUnavailableError
from cryptors.memory import PlaintextFile, PlaintextMemory
from cryptors.reader import LockedModel

def limit(spare):
    pages = int(open("/proc/self/statm").read().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare, hard))

def tell(act):
    try:
        act()
        print("done", threading.active_count())
    except MemoryUnavailableError as error:
        print(error.reason, any(word.isdecimal() for word in error.message.split()), threading.active_count())

MIB = 1024 * 1024
with LockedModel(sys.argv[1], bytes(range(32)), threads=4) as model:
    file = model.file()
    limit(16 * MIB)
    tell(lambda: PlaintextMemory(32 * MIB))
    tell(lambda: PlaintextFile(32 * MIB))
    tell(file.read_all)
    # Enough for the plaintext, and not for the stacks of threads and their buffers.
    memory = bytearray(b"x") * 9 * MIB
    limit(7 * MIB)
    tell(lambda: model.read_into(0, memoryview(memory)))
    model._file._idle.clear()
    limit(0)
    tell(lambda: model.read_into(0, memoryview(memory)))
"""


def test_limit_on_the_process(tmp_path: Path) -> None:
    path = write_container(tmp_path / "model.locked", {"weights": bytes(32 * MIB)})
    command = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [
        *("out_of_memory True 1" for _ in range(3)),
        "done 1",
        "out_of_memory True 1",
    ]
    assert done.stderr == ""
