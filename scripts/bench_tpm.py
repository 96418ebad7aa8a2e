"""Measures how long unlocking takes where the device key is in a TPM.

With a TPM named, such as `device:/dev/tpmrm0`, on that one; without, on a TPM in software (swtpm), which is started for
the purpose. As in bench_start.py, the hardware probes are left out. The median of many runs, and the first run of a
process, which imports what talks to TPMs.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

RUNS = 15
GOAL_MS = 100
MODEL_ID = "00000000-0000-4000-8000-000000000000"
START_SECONDS = 20


@contextlib.contextmanager
def software_tpm(folder: Path) -> Iterator[str]:
    """Runs a TPM in software, and gives the name by which it is opened."""
    (folder / "tpm").mkdir()
    socket = folder / "tpm" / "sock"
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder / 'tpm'}", "--flags"]
    sockets = ["--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl"]
    process = subprocess.Popen([*command, "not-need-init,startup-clear", *sockets], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield f"swtpm:path={socket}"
    finally:
        process.kill()
        process.wait()


def measure_unlock(folder: Path, tcti: str) -> list[float]:
    """Returns the seconds that unlocking takes; the first includes what is imported on first use."""
    from licensing.content_key import key_id, new_content_key
    from licensing.errors import RequestMalformedError
    from licensing.hardware import Hardware
    from licensing.issue import ModelKey, Terms, issue_license
    from licensing.jwk import thumbprint
    from licensing.machine import Machine
    from licensing.request import read_request_claims, request_claims
    from licensing.signing_key import new_signing_key
    from licensing.strict_json import Fields
    from licensing.tpm_device_key import create_tpm_device_key
    from licensing.trust import TrustedKeys
    from licensing.unlock import unlock

    box, now = Hardware(Machine("0123456789abcdef" * 2, "bench")), datetime.now(timezone.utc)
    device_key = create_tpm_device_key(folder / "customer", tcti)
    claims = Fields(request_claims(device_key, box, [], now), "request", RequestMalformedError)
    content_key, signing_key = new_content_key(), new_signing_key("EdDSA")
    model = ModelKey(MODEL_ID, key_id(content_key), "model", content_key)
    terms = Terms("Bench", "Bench", now + timedelta(days=365), allow_no_gpu=True)
    # The exchange that proves where the key is takes place once, and has no part in unlocking.
    issued = issue_license(read_request_claims(claims, "tpm"), [model], terms, signing_key, now)
    (folder / "bench.lic").write_bytes(issued.data)
    public_key = signing_key.public_key()
    (folder / "trust.jwks").write_bytes(TrustedKeys({thumbprint(public_key): public_key}).to_bytes())
    homes = {"trust": folder / "trust.jwks", "home": folder / "customer"}
    seconds = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        unlocked = unlock(folder / "bench.lic", MODEL_ID, model.key_id, hardware=box, **homes)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - start)
        if unlocked.content_key != content_key:
            sys.exit("another content key came out")
    return seconds


def main() -> None:
    """Prints the measurement; one argument names a TPM."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        os.environ["WEIGHTLOCK_STATE"] = str(folder / "state")
        tcti = sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(software_tpm(folder))
        # Making the key imports what talks to TPMs; a process that only unlocks pays that at its first unlock.
        seconds = measure_unlock(folder, tcti)
        probe = "import time; s = time.perf_counter(); import tpm2_pytss; print(time.perf_counter() - s)"
        importing = float(subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True).stdout)
    low, middle, high = (1000 * value for value in (min(seconds), statistics.median(seconds[1:]), max(seconds)))
    print(
        f"unlock with the TPM {tcti.split(':')[0]:<10} median {middle:6.1f} ms   min {low:6.1f}   max {high:6.1f}   ",
        end="",
    )
    print(f"goal {GOAL_MS} ms")
    print(f"{'importing tpm2_pytss, once':<31}        {1000 * importing:6.1f} ms")


if __name__ == "__main__":
    main()
