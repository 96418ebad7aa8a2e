"""Our stream reader under the real bindings of TensorRT for RTX, as far as they go without a GPU.

They open the CUDA driver's library and ask it whether memory is the GPU's. A library with just these two functions lets
them call our reader as they do on a GPU box; where CUDA itself is needed, the real runtime must fail, and does.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import tensorrt_rtx

from cryptors import CryptorFactory
from tests.components import need
from tests.contract.case import trained_weights
from tests.cryptors.containers import CONTENT_KEY
from tests.tensorrt_models import build_plan, write_network

LIBCUDA = """
int cuPointerGetAttribute(void *data, int attribute, unsigned long long pointer)
{
    return 1; /* CUDA_ERROR_INVALID_VALUE, as for memory that is not CUDA's. */
}
int cuMemcpyHtoD_v2(unsigned long long target, const void *source, unsigned long size)
{
    return 100; /* CUDA_ERROR_NO_DEVICE */
}
"""

# `IStreamReaderV2.read` is the method in C++, which TensorRT calls; it calls ours until it has all bytes.
DRIVE = """
import ctypes, json, random, sys
import tensorrt_rtx
from cryptors import tensorrt_stream
from cryptors.errors import CryptorError
from cryptors.reader import LockedModel
from cryptors.tensorrt_runtime import deserialize

locked, plan = sys.argv[1], open(sys.argv[2], "rb").read()
tensorrt_stream.CHUNK_BYTES = 100_000
new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype, new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
buffer = ctypes.create_string_buffer(len(plan) + 1)
base, seats = tensorrt_rtx.IStreamReaderV2, tensorrt_rtx.SeekPosition
wrong = []

def check(start, size):
    found = base.read(reader, new_capsule(ctypes.addressof(buffer), None, None), size, 0)
    if buffer.raw[:found] != plan[start : start + size]:
        wrong.append((start, size, found))

with LockedModel(locked, bytes(range(32))) as model:
    with tensorrt_stream.open_stream_reader(tensorrt_rtx, model.file(), 0) as reader:
        check(0, len(plan))
        choose = random.Random(1)
        for _ in range(50):
            start, size = choose.randrange(len(plan)), choose.choice([1, 64, 4096, 99_999, 250_000])
            offset, where = choose.choice(
                [(start, seats.SET), (start - reader.position, seats.CUR), (start - len(plan), seats.END),
                 (len(plan) - start, seats.END)])
            wrong += [] if base.seek(reader, offset, where) else [(offset, str(where))]
            check(start, min(size, len(plan) - start))
        moves = [base.seek(reader, *place) for place in ((-1, seats.SET), (len(plan) + 1, seats.SET), (0, seats.END))]
    after = base.read(reader, new_capsule(ctypes.addressof(buffer), None, None), 4, 0)
    try:
        deserialize(tensorrt_rtx, model.file(), 0)
        error = None
    except CryptorError as cause:
        error = [cause.reason, cause.message, str(cause.__cause__)]
is_reader = isinstance(reader, base)
print(json.dumps({"wrong": wrong, "moves": moves, "after": after, "is_reader": is_reader, "error": error}))
"""


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Returns what a process found that drove our reader."""
    need("cc")
    folder = tmp_path_factory.mktemp("stream")
    (folder / "cuda.c").write_text(LIBCUDA)
    library = ["-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(folder / "cuda.c")]
    subprocess.run(["cc", *library], check=True)
    plan, locked = folder / "network.engine", folder / "network.locked"
    plan.write_bytes(build_plan(write_network(folder / "network.onnx", trained_weights(800)), tensorrt_rtx))
    CryptorFactory.instance("tensorrt").encrypt(plan, CONTENT_KEY, locked)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    command = [sys.executable, "-c", DRIVE, str(locked), str(plan)]
    ended = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    return json.loads(ended.stdout.splitlines()[-1])


def test_bindings_get_the_right_bytes(driven: Any) -> None:
    """In one read of everything, in small ones and in ones that take several chunks, and after seeks of all kinds."""
    assert driven["is_reader"]
    assert driven["wrong"] == []


def test_places_outside_of_the_plan(driven: Any) -> None:
    assert driven["moves"] == [False, False, True]
    assert driven["after"] == 0, "when the plan is loaded, nothing more is read"


def test_real_runtime_takes_our_settings_and_says_what_it_lacks(driven: Any) -> None:
    """Our logger, flags and reader are what the real runtime accepts; then there is no CUDA, and its words come out."""
    reason, message, cause = driven["error"]
    assert reason == "model_rejected"
    assert message.startswith("TensorRT did not accept the plan: ")
    assert "cudaError 35" in message
    assert "cudaError 35" in cause
