"""Licenses bound to hardware: device keys, requests, licenses, and unlocking content keys with them.

Unlocking is `licensing.unlock.unlock`. The vendor's side is `licensing.vendor_home`, which needs a database library
and is imported by those who use it.
"""

from licensing.content_key import new_content_key
from licensing.device_key import create_device_key, open_device_key
from licensing.errors import LicensingError, WeightlockError
from licensing.gpus import Gpu, GpuReading
from licensing.hardening import Hardening, harden
from licensing.hardware import Hardware, read_hardware
from licensing.machine import Machine, read_machine
from licensing.request import make_request, read_request
from licensing.version import __version__

__all__ = [
    "Gpu",
    "GpuReading",
    "Hardening",
    "Hardware",
    "LicensingError",
    "Machine",
    "WeightlockError",
    "__version__",
    "create_device_key",
    "harden",
    "make_request",
    "new_content_key",
    "open_device_key",
    "read_hardware",
    "read_machine",
    "read_request",
]
