"""OpenVINO itself: imported without its telemetry, and kept from writing models to files."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cryptors.errors import FrameworkMissingError, ModelRejectedError
from cryptors.frameworks import import_framework
from licensing.errors import UsageError

__all__ = ["check_config", "import_openvino", "openvino_core", "openvino_errors", "openvino_name", "openvino_said"]

_TELEMETRY = "openvino_telemetry"

_DUMPS = ("OV_ENABLE_SERIALIZE_TRACING", "OV_ENABLE_VISUALIZE_TRACING", "OPENVINO_HETERO_VISUALIZE")
"""Environment variables with which OpenVINO writes what it reads and compiles to the working directory."""

_VIRTUAL_DEVICES = {"AUTO", "MULTI", "HETERO", "BATCH"}
"""They stand for other devices."""


def import_openvino() -> Any:
    """Returns the module, imported without its telemetry.

    `import openvino` sends an event to a service for web statistics, from a forked copy of this process, and writes an
    identity to the user's home. OpenVINO does neither where the package for it cannot be imported.

    Raises:
        FrameworkMissingError: it is not installed.
    """
    if "openvino" in sys.modules:
        return import_framework("openvino", "openvino")
    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        return import_framework("openvino", "openvino")
    finally:
        sys.modules.pop(_TELEMETRY, None)
        if before is not None:
            sys.modules[_TELEMETRY] = before


def openvino_core(extensions: Sequence[Any], device_name: str = "CPU") -> Any:
    """Returns an `openvino.Core` that knows some more operators.

    Args:
        extensions: as in `openvino.Core.add_extension`.
        device_name: the device that it is for.

    Raises:
        UsageError: the environment makes OpenVINO write models to files.
        FrameworkMissingError: OpenVINO does not find the device.
        ModelRejectedError: an extension does not load.
    """
    for variable in _DUMPS:
        if os.environ.get(variable):
            raise UsageError(
                f"with the environment variable {variable} OpenVINO writes the decrypted model to disk",
                f"run this without it: env -u {variable} …",
            )
    core = import_openvino().Core()
    kind, available = re.split(r"[.:(]", device_name)[0], core.available_devices
    if kind not in _VIRTUAL_DEVICES | {each.partition(".")[0] for each in available}:
        raise FrameworkMissingError(
            f"OpenVINO does not find the device {device_name!r}", f"it finds {', '.join(available)}"
        )
    with openvino_errors():
        for extension in extensions:
            core.add_extension(extension)
    return core


def openvino_name(device: str) -> str:
    """Returns OpenVINO's name of a device.

    Raises:
        UsageError: OpenVINO has no such device.
    """
    if device != "cpu":
        raise UsageError(
            f"OpenVINO has no device {device!r}",
            "write cpu; in Python, load() takes OpenVINO's own names of devices as device_name",
        )
    return "CPU"


def check_config(config: Mapping[str, Any]) -> None:
    """Refuses properties that write the model to a file, also those for one of several devices.

    The callbacks with which OpenVINO encrypts its cache are no way around this: they get the graph alone, and the
    weights stay as they are.

    Raises:
        UsageError: naming the property.
    """
    for name, value in config.items():
        if re.search("CACHE_DIR|DUMP", str(name)):
            raise UsageError(
                f"with the property {str(name)!r} OpenVINO writes the decrypted model to disk",
                "to keep a compiled model, lock what its export_model() returns: cryptors.lock_derived does that",
            )
        nested = getattr(value, "value", value)  # OpenVINO wraps the values of its own properties.
        if isinstance(nested, Mapping):
            check_config(nested)


@contextlib.contextmanager
def openvino_errors() -> Iterator[None]:
    """Converts what OpenVINO raises when it does not take a model."""
    try:
        yield
    except RuntimeError as cause:
        raise ModelRejectedError(f"OpenVINO did not accept the model: {openvino_said(cause)}") from cause


def openvino_said(cause: Exception) -> str:
    """Returns what an error of OpenVINO says, without the places in its source that stand around it."""
    lines = [line for line in str(cause).splitlines() if not re.match(r"Exception from |Check '|\s*$", line)]
    return " ".join(lines)[:300].rstrip(" .!") or type(cause).__name__
