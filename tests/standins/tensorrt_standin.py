"""A stand-in for TensorRT's runtime. It is no TensorRT: it knows toy plans of its own, and computes with NumPy.

A toy plan begins with the magic number of a real one, so that it is detected as one, and goes on with its own length
and an `.npz` archive. The enumerations, the logger's base class and the output allocator's are those of the real module
`tensorrt_rtx`; what needs a GPU there is a stand-in here, and insists on what the real one needs of its caller.
"""

import ctypes
import io
import types
import weakref
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt_rtx as real

__all__ = ["new_runtime", "tensorrt_standin", "write_plan"]

HEADER_BYTES = 12
PIECES = (1, 4095, 70_000, 3_000_001)
"""How much the runtime asks for at once, in turn: its real one asks for what it needs next, from one byte to all."""


REFUSALS = {
    "plugin": ("Error Code 4: API Usage Error (could not find plugin Example version: 1)",),
    "other version": (
        "Error Code 6: API Usage Error (The engine plan file is not compatible with this version of TensorRT)",
        "Error Code 4: Internal Error (Engine deserialization failed.)",
    ),
    "other GPU": (
        "6: The engine plan file is generated on an incompatible device, expecting compute 8.6, please rebuild.",
        "Error Code 4: Internal Error (Engine deserialization failed.)",
    ),
    "other tag": ("Error Code 1: Serialization (Version tag does not match.)", "Engine deserialization failed."),
}
"""What TensorRT says of plans that it does not accept, as its users have reported it."""


def write_plan(path: Path, arrays: dict[str, Any], magic: bytes = b"ftrt", kind: str = "network") -> Path:
    """Writes a toy plan.

    Args:
        path: where to.
        arrays: what it computes with.
        magic: the first four bytes.
        kind: "network", of two linear layers; the same "on host", which takes its input from there, or in "bfloat16";
            "nonzero", of the places where the input is not zero, which are as many as the data wants; or one of
            `REFUSALS`.
    """
    archive = io.BytesIO()
    np.savez(archive, kind=np.array(kind), **arrays)
    path.write_bytes(magic + (HEADER_BYTES + archive.tell()).to_bytes(8, "little") + archive.getvalue())
    return path


class StreamReaderStandIn:
    """The base class of readers; the real one, too, needs its constructor called."""

    def __init__(self) -> None:
        self.is_constructed = True


class RuntimeStandIn:
    """Makes engines of toy plans, from memory or through a reader as TensorRT's own bindings drive it."""

    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, real.ILogger)
        self._logger = weakref.ref(logger)  # The real one holds on to it as little.
        self.tempfile_control_flags = 3  # What TensorRT allows unless it is told otherwise.
        self.engine_host_code_allowed = True  # Not TensorRT's default, so that our setting it is seen.
        self.kept: Any = None

    def log(self, message: str) -> None:
        logger = self._logger()
        assert logger is not None, "the logger must outlive the runtime and its engines"
        logger.log(real.ILogger.INFO, "what goes well is reported, too")
        logger.log(real.ILogger.ERROR, message)

    def deserialize_cuda_engine(self, source: Any) -> Any:
        assert self.tempfile_control_flags == 1 << int(real.TempfileControlFlag.ALLOW_IN_MEMORY_FILES)
        assert not self.engine_host_code_allowed
        if isinstance(source, StreamReaderStandIn):
            assert source.is_constructed
            plan = self._read_plan(source)
        else:
            plan = bytes(memoryview(source))
        if len(plan) < HEADER_BYTES or int.from_bytes(plan[4:HEADER_BYTES], "little") != len(plan):
            self.log("Error Code 1: Serialization (Serialization assertion plan.header.size == blobSize failed.)")
            return None
        with np.load(io.BytesIO(plan[HEADER_BYTES:])) as archive:
            arrays = dict(archive)
        kind = str(arrays.pop("kind"))
        for message in (refusals := REFUSALS.get(kind, ())):
            self.log(message)
        return None if refusals else EngineStandIn(self, arrays, kind)

    def _read_plan(self, reader: Any) -> bytes:
        """Reads in several orders: the header twice, and everything else in pieces of all sizes."""
        header = _read(reader, HEADER_BYTES)
        assert reader.seek(0, real.SeekPosition.SET)
        assert _read(reader, HEADER_BYTES) == header
        size = int.from_bytes(header[4:], "little")
        assert not reader.seek(-1, real.SeekPosition.SET)
        if not reader.seek(size, real.SeekPosition.SET):
            return header
        assert reader.seek(-size, real.SeekPosition.CUR)
        plan, turn = b"", 0
        while len(plan) < size and (piece := _read(reader, min(PIECES[turn % len(PIECES)], size - len(plan)))):
            plan, turn = plan + piece, turn + 1
        return plan


def new_runtime() -> RuntimeStandIn:
    """Returns a runtime for tests that ask for no more than an engine."""
    logger = real.Logger(real.Logger.INTERNAL_ERROR)
    runtime = RuntimeStandIn(logger)
    runtime.kept = logger
    runtime.tempfile_control_flags, runtime.engine_host_code_allowed = 1, False
    return runtime


def _read(reader: Any, size: int) -> bytes:
    """Does what the bindings do: asks until it has everything or gets nothing, and copies before it asks again."""
    data = b""
    while len(data) < size and (piece := bytes(memoryview(reader.read(size - len(data), 0)))):
        data += piece[: size - len(data)]
    return data


class EngineStandIn:
    """A toy plan, ready to run: one input "x", one output "y"."""

    def __init__(self, runtime: RuntimeStandIn, arrays: dict[str, Any], kind: str) -> None:
        self._runtime = weakref.ref(runtime)
        self.arrays, self.kind = arrays, kind
        self.num_io_tensors = 2

    @property
    def runtime(self) -> RuntimeStandIn:
        runtime = self._runtime()
        assert runtime is not None, "the runtime must outlive its engines"
        return runtime

    @property
    def width(self) -> int:
        return int(self.arrays["first.weight"].shape[1])

    def get_tensor_name(self, index: int) -> str:
        return "xy"[index]

    def get_tensor_mode(self, name: str) -> Any:
        return real.TensorIOMode.INPUT if name == "x" else real.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        if self.kind == "bfloat16":
            return real.DataType.BF16
        return real.DataType.INT64 if self.kind == "nonzero" and name == "y" else real.DataType.FLOAT

    def get_tensor_location(self, name: str) -> Any:
        return real.TensorLocation.HOST if self.kind == "on host" else real.TensorLocation.DEVICE

    def get_tensor_shape(self, name: str) -> Any:
        return real.Dims([-1] if self.kind == "nonzero" else [-1, self.width if name == "x" else 3])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        return [real.Dims([rows, *self.get_tensor_shape(name)[1:]]) for rows in (1, 2, 8)]

    def create_execution_context(self) -> "ContextStandIn":
        return ContextStandIn(self, self.runtime)

    def compute(self, x: Any) -> Any:
        if self.kind == "nonzero":
            return np.flatnonzero(x).astype(np.int64)
        hidden = np.maximum(x @ self.arrays["first.weight"].T + self.arrays["first.bias"], 0)
        return (hidden @ self.arrays["last.weight"].T + self.arrays["last.bias"]).astype(np.float32)


class ContextStandIn:
    """One run of an engine. Addresses are taken as they are: those of the driver's stand-in are this process's."""

    def __init__(self, engine: EngineStandIn, runtime: RuntimeStandIn) -> None:
        self._engine, self._runtime = engine, runtime
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        self._allocator: Any = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        wanted = tuple(self._engine.get_tensor_shape(name))
        fits = len(shape) == len(wanted) and shape[1:] == wanted[1:] and 1 <= shape[0] <= 8
        self._shape = shape if fits else ()
        return fits

    def get_tensor_shape(self, name: str) -> Any:
        shape = tuple(self._engine.get_tensor_shape(name))
        return real.Dims(shape if self._engine.kind == "nonzero" else (self._shape[0], *shape[1:]))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = int(address)
        return True

    def set_output_allocator(self, name: str, allocator: Any) -> bool:
        assert isinstance(allocator, real.IOutputAllocator)
        self._allocator = allocator
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if not isinstance(stream, int) or not self._addresses["x"] or not stream:
            self._runtime.log("Error Code 3: API Usage Error (an address is missing)")
            return False
        size = 4 * int(np.prod(self._shape))
        x = np.frombuffer(ctypes.string_at(self._addresses["x"], size), np.float32).reshape(self._shape)
        if np.isnan(x).any():  # No rule of TensorRT's: a way for tests to make a run fail.
            self._runtime.log("Error Code 1: Cuda Runtime (an illegal memory access was encountered)")
            return False
        y = self._engine.compute(x)
        if self._allocator is not None:
            self._addresses["y"] = self._allocator.reallocate_output("y", 0, y.nbytes, 256)
            self._allocator.notify_shape("y", real.Dims(y.shape))
        ctypes.memmove(self._addresses["y"], y.ctypes.data, y.nbytes)
        return True


def tensorrt_standin(name: str = "tensorrt", *, has_stream_reader: bool = True) -> Any:
    """Returns what stands in `sys.modules` for a module of TensorRT's.

    Args:
        name: of the module.
        has_stream_reader: whether it is one of TensorRT since 10.7.
    """
    module: Any = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.__version__ = "0 (a stand-in)"
    module.Runtime = RuntimeStandIn
    for each in (
        "ILogger",
        "Logger",
        "IOutputAllocator",
        "TempfileControlFlag",
        "SeekPosition",
        "EngineInvalidityDiagnostics",
    ):
        setattr(module, each, getattr(real, each))
    if has_stream_reader:
        module.IStreamReaderV2 = StreamReaderStandIn
    return module
