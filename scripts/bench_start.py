"""Measures what every start of a locked application pays: importing, and unlocking a license.

Unlocking is everything from the license file to the content key: reading, verifying, opening the device key, RSA,
derivation. The hardware probes are left out, because they are the driver's time. Medians of several processes.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

RUNS = 15
IMPORT = "import time; start = time.perf_counter(); import licensing, cryptors; print(time.perf_counter() - start)"


def measure_import() -> list[float]:
    """Returns the seconds that `import licensing, cryptors` takes, in fresh processes."""
    command = [sys.executable, "-c", IMPORT]
    subprocess.run(command, check=True, capture_output=True)  # The first one writes the bytecode.
    return [float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(RUNS)]


def measure_unlock(folder: Path) -> list[float]:
    """Returns the seconds that unlocking takes; the first includes what is imported on first use."""
    from licensing.content_key import key_id, new_content_key
    from licensing.device_key import create_device_key
    from licensing.hardware import Hardware
    from licensing.machine import Machine
    from licensing.request import make_request
    from licensing.unlock import unlock
    from licensing.vendor_home import VendorHome

    box = Hardware(Machine("0123456789abcdef" * 2, "bench"))
    now = datetime.now(timezone.utc)
    request = make_request(create_device_key(folder / "customer", box.machine), box, [], now)
    vendor = VendorHome.create(folder / "vendor", "Bench")
    content_key, model_id = new_content_key(), "00000000-0000-4000-8000-000000000000"
    vendor.add_model(model_id, "model", "onnx", content_key, 1, now)
    terms = {"customer": "Bench", "expires": now + timedelta(days=365), "now": now, "allow_no_gpu": True}
    license_path = folder / "bench.lic"
    license_path.write_bytes(vendor.issue(request, [model_id], **terms).data)  # type: ignore[arg-type]
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        unlock(
            license_path,
            model_id,
            key_id(content_key),
            trust=vendor.trust_path,
            home=folder / "customer",
            hardware=box,
        )
        seconds.append(time.perf_counter() - start)
    return seconds


def report(what: str, seconds: list[float], goal_ms: int) -> None:
    """Prints the median and the spread in milliseconds."""
    low, middle, high = (1000 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    print(f"{what:<30} median {middle:6.1f} ms   min {low:6.1f}   max {high:6.1f}   goal {goal_ms} ms")


def main() -> None:
    """Prints both measurements."""
    report("import licensing, cryptors", measure_import(), 150)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure_unlock(Path(folder))
    report("unlock a license", seconds[1:], 15)
    print(f"{'the first unlock of a process':<30}        {1000 * seconds[0]:6.1f} ms   with what it imports")


if __name__ == "__main__":
    main()
