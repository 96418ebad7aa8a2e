"""TensorRT's runtime: which of its libraries a plan needs, and what that makes of a plan that is being decrypted."""

import functools
import importlib.util
import os
from collections import deque
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from cryptors.errors import CryptorError, FrameworkMissingError, FrameworkUnsuitableError, ModelRejectedError
from cryptors.file_formats import RTX_PLAN_MAGIC
from cryptors.frameworks import first_line, import_framework
from cryptors.memory import PlaintextMemory
from cryptors.tensorrt_stream import Readable, open_stream_reader

__all__ = ["Origin", "deserialize", "import_tensorrt", "origin"]

_FULL = ("tensorrt", "tensorrt_lean", "tensorrt_dispatch")
_RTX = ("tensorrt_rtx",)
_INSTALL = {
    _FULL: "install it with: pip install 'weightlock[tensorrt]'",
    _RTX: "install it with: pip install tensorrt-rtx",
}

_MADE_ELSEWHERE = ("engine plan file is ", "version tag does not match")
"""What TensorRT says of a plan of another version of itself or for another kind of GPU."""


@dataclass(frozen=True)
class Origin:
    """What an engine came from.

    Attributes:
        module: TensorRT's.
        runtime: must outlive the engine.
        logger: must outlive the runtime; `errors` holds what TensorRT last complained of.
    """

    module: Any
    runtime: Any
    logger: Any


_origins: "WeakKeyDictionary[Any, Origin]" = WeakKeyDictionary()


def origin(engine: Any) -> Origin:
    """Returns what an engine of `deserialize` came from."""
    return _origins[engine]


def import_tensorrt(magic: bytes) -> Any:
    """Returns the module of the TensorRT that is installed and reads such plans: the full runtime before smaller ones.

    Args:
        magic: the first bytes of the plan.

    Raises:
        FrameworkUnsuitableError: only the other kind of TensorRT is installed.
        FrameworkMissingError: none is installed.
    """
    wanted, other = (_RTX, _FULL) if magic.startswith(RTX_PLAN_MAGIC) else (_FULL, _RTX)
    for name in wanted:
        if importlib.util.find_spec(name) is not None:
            return import_framework(name, "tensorrt")
    if found := [name for name in other if importlib.util.find_spec(name) is not None]:
        raise FrameworkUnsuitableError(
            f"this plan was made by {'TensorRT for RTX' if wanted is _RTX else 'TensorRT'}, "
            f"and only {found[0]} is installed, which cannot read it",
            _INSTALL[wanted],
        )
    raise FrameworkMissingError(f"this model needs {wanted[0]}, which is not installed", _INSTALL[wanted])


def deserialize(module: Any, file: Readable, start: int) -> Any:
    """Returns the engine that TensorRT makes of a plan.

    TensorRT reads the plan as it needs it, and what goes to the GPU is never whole in the memory of the host; versions
    before 10.7 get it whole.

    Args:
        module: TensorRT's; a GPU was chosen for it with `use_gpu`.
        file: what the plan is read from.
        start: where the plan begins in it.

    Raises:
        FrameworkUnsuitableError: TensorRT does not work here, or the plan was made for another version or GPU.
        ModelRejectedError: TensorRT did not accept the plan.
    """
    if hasattr(module, "init_libnvinfer_plugins"):
        _register_plugins(module)
    logger = _new_logger(module)
    try:
        runtime = module.Runtime(logger)
    except Exception as cause:  # The binding of a null pointer, whose reason is in the log.
        raise FrameworkUnsuitableError(
            f"{module.__name__} does not start here: {(*logger.errors, first_line(cause))[0]}"
        ) from cause
    # Neither code of the plan's vendor for this processor, nor files in which TensorRT would put that.
    runtime.engine_host_code_allowed = False
    runtime.tempfile_control_flags = 1 << int(module.TempfileControlFlag.ALLOW_IN_MEMORY_FILES)
    if hasattr(module, "IStreamReaderV2"):
        with open_stream_reader(module, file, start) as reader:
            engine = runtime.deserialize_cuda_engine(reader)
    else:
        size = file.seek(0, os.SEEK_END) - start
        file.seek(start)
        with PlaintextMemory(size) as memory:
            file.readinto(memory.view)  # type: ignore[union-attr]
            engine = runtime.deserialize_cuda_engine(memory.view)
    if engine is None:
        raise _refusal(module, runtime, logger, file, start)
    _origins[engine] = Origin(module, runtime, logger)
    return engine


def _new_logger(module: Any) -> Any:
    class Logger(module.ILogger):  # type: ignore[misc]
        """Keeps the errors and prints nothing: TensorRT's own logger writes to standard output."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=20)

        def log(self, severity: Any, message: str) -> None:
            if severity.name in ("INTERNAL_ERROR", "ERROR"):
                self.errors.append(first_line(Exception(message)))

    return Logger()


@functools.cache
def _register_plugins(module: Any) -> Any:
    """Makes the operators known that come with TensorRT beside its own, once; they go on using the logger."""
    logger = _new_logger(module)
    module.init_libnvinfer_plugins(logger, "")
    return logger


def _refusal(module: Any, runtime: Any, logger: Any, file: Readable, start: int) -> CryptorError:
    """Returns the error for a plan of which TensorRT made no engine."""
    errors = list(logger.errors) or ["it does not say why"]
    said = " ".join(errors).lower()
    if any(words in said for words in _MADE_ELSEWHERE) or _is_made_elsewhere(module, runtime, file, start):
        error: CryptorError = FrameworkUnsuitableError(
            f"the plan was made for another version of {module.__name__} than {module.__version__}, or for other GPUs: "
            f"{errors[0]}",
            "ask the vendor for a plan for this version and this GPU",
        )
    else:
        hints = ["load the library of the plan's own plugins first"] if "plugin" in said else []
        error = ModelRejectedError(f"TensorRT did not accept the plan: {errors[0]}", *hints)
    error.__cause__ = RuntimeError("\n".join(errors))
    return error


def _is_made_elsewhere(module: Any, runtime: Any, file: Readable, start: int) -> bool:
    """Returns whether TensorRT for RTX finds, in the header of a plan that it refused, that it is not for here.

    Only then: on GPUs that it does not officially support it says so of plans, too, that it runs.
    """
    if not hasattr(runtime, "get_engine_validity"):
        return False
    file.seek(start)
    diagnostics = runtime.get_engine_validity(file.read(runtime.engine_header_size))[1]
    reasons = module.EngineInvalidityDiagnostics
    elsewhere = (reasons.VERSION_MISMATCH, reasons.UNSUPPORTED_CC, reasons.OLD_CUDA_DRIVER, reasons.OLD_CUDA_RUNTIME)
    return any(int(diagnostics) & int(reason) for reason in elsewhere)
