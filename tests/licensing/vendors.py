"""Vendors' homes and customers' boxes, as the tests of the vendor's side need them."""

import sqlite3
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from licensing.content_key import key_id, new_content_key
from licensing.device_key import create_device_key
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.issue import IssuedLicense
from licensing.machine import Machine
from licensing.request import make_request
from licensing.unlock import unlock
from licensing.vendor_home import VendorHome

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=timezone.utc)
GPU = Gpu("GPU-0f5a7c52-29a1-4d3b-9b7e-0d5c3f9a1b2c", "NVIDIA H200", 0)

SCRYPT_COST = 2**10
"""Much less than a vendor's, for speed."""


@dataclass(frozen=True)
class Box:
    """A customer's box with its home, its hardware and its requests."""

    home: Path
    hardware: Hardware
    request: bytes
    request_without_gpu: bytes


def make_box(home: Path, machine_id: str) -> Box:
    hardware = Hardware(Machine(machine_id, "/etc/machine-id"), GpuReading((GPU,)))
    device_key = create_device_key(home, hardware.machine)
    return Box(
        home,
        hardware,
        make_request(device_key, hardware, [GPU], NOW),
        make_request(device_key, hardware, [], NOW),
    )


def add_model(home: VendorHome, name: str = "resnet18", created: datetime = NOW) -> tuple[str, bytes]:
    model_id, content_key = str(uuid.uuid4()), new_content_key()
    home.add_model(model_id, name, "torch", content_key, 46_000_000, created)
    return model_id, content_key


def issue(home: VendorHome, request: bytes, *model_ids: str, **changes: Any) -> IssuedLicense:
    terms: dict[str, Any] = {"customer": "Acme", "expires": NOW + timedelta(days=30), "now": NOW, **changes}
    return home.issue(request, model_ids, **terms)


def unlocked(home: VendorHome, box: Box, data: bytes, model_id: str, content_key: bytes, directory: Path) -> bytes:
    (directory / "acme.lic").write_bytes(data)
    return unlock(
        directory / "acme.lic",
        model_id,
        key_id(content_key),
        trust=home.trust_path,
        home=box.home,
        hardware=box.hardware,
        now=NOW,
    ).content_key


def edit_registry(directory: Path, *statements: str) -> None:
    connection = sqlite3.connect(directory / "registry.db")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
