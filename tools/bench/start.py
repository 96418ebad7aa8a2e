"""What the start of an application takes: from `import` to the first inference of a small model, and unlocking.

A start is a process of its own each time; the interpreter's own start is not in the time.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from licensing.hardware import Hardware, read_hardware
from licensing.machine import Machine
from tools.bench.jobs import Arguments, Job, Seconds, timed

__all__ = ["START_JOBS", "license_for"]

PLAIN = """
import time
began = time.perf_counter()
import json, sys
import numpy
import onnxruntime
options = json.loads(sys.argv[1])
session = onnxruntime.InferenceSession(options["path"], providers=["CPUExecutionProvider"])
session.run(None, {"x": numpy.zeros((1, options["width"]), numpy.float32)})
print(time.perf_counter() - began)
"""

LOCKED = """
import time
began = time.perf_counter()
import json, sys
import numpy
from cryptors import load_model
options = json.loads(sys.argv[1])
box = {name: options[name] for name in ("license", "trust", "home")}
if options["stand_in"]:
    from licensing import Hardware
    from licensing.machine import Machine
    box["hardware"] = Hardware(Machine(options["stand_in"], "bench"))
session = load_model(options["locked"], **box)
session.run(None, {"x": numpy.zeros((1, options["width"]), numpy.float32)})
print(time.perf_counter() - began)
"""


def start_plain(arguments: Arguments) -> Job:
    """Starts an application with a plaintext model."""
    return lambda threads: _start(PLAIN, arguments)


def start_locked(arguments: Arguments) -> Job:
    """Starts an application with a locked model and its license."""
    return lambda threads: _start(LOCKED, arguments)


def _start(program: str, arguments: Arguments) -> Seconds:
    # The worker may have found this distribution beside the installed ones, which are searched first.
    command = f"import sys; sys.path.append({sys.path[-1]!r})\n{program}"
    started = subprocess.run([sys.executable, "-c", command, json.dumps(arguments)], capture_output=True, check=True)
    return {"call": float(started.stdout.split()[-1])}


def unlock(arguments: Arguments) -> Job:
    """Goes from the license file to the content key; the hardware was measured before."""
    from cryptors.keys import KeySource

    hardware = _hardware(arguments)
    keys = KeySource(None, arguments["license"], arguments["trust"], arguments["home"], hardware)
    return lambda threads: timed(lambda: keys.content_key(arguments["locked"]))


def probe(arguments: Arguments) -> Job:
    """Measures the hardware: mostly the driver's time."""
    return lambda threads: timed(read_hardware)


def _hardware(arguments: Arguments) -> Hardware:
    return Hardware(Machine(arguments["stand_in"], "bench")) if arguments["stand_in"] else read_hardware()


def license_for(folder: Path, model_id: str, content_key: bytes) -> dict[str, Any]:
    """Makes a customer's box in a folder, and a license for one model that binds to this machine.

    Returns:
        What the jobs above take: the places of license, trust file and home, and the machine ID of a stand-in where
        this machine has none.
    """
    from licensing.device_key import create_device_key
    from licensing.request import make_request
    from licensing.vendor_home import VendorHome
    from tools.demo_box import measure_box

    home = folder / "customer"
    box = measure_box(home)
    now = datetime.now(timezone.utc)
    device_key = create_device_key(home, box.hardware.machine)
    request = make_request(device_key, box.hardware, [], now)
    vendor = VendorHome.create(folder / "vendor", "Bench")
    vendor.add_model(model_id, "tiny.onnx", "onnx", content_key, 1, now)
    issued = vendor.issue(
        request, [model_id], customer="Bench", expires=now + timedelta(days=365), now=now, allow_no_gpu=True
    )
    path = folder / "bench.lic"
    path.write_bytes(issued.data)
    stand_in = box.hardware.machine.machine_id if box.problem is not None else ""
    return {"license": str(path), "trust": str(vendor.trust_path), "home": str(home), "stand_in": stand_in}


START_JOBS: dict[str, Callable[[Arguments], Job]] = {
    job.__name__: job for job in (start_plain, start_locked, unlock, probe)
}
