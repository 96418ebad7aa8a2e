"""Mending a box's time state: the vendor's `weightlock reset-clock`, and the customer's `weightlock apply`."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

from licensing.local_time import local_text
from tools.options import (
    CustomerHome,
    Force,
    Json,
    Trust,
    VendorHomeOption,
    passphrase_source,
    path_argument,
    path_option,
    vendor_directory,
)
from tools.output import print_facts

__all__ = ["apply", "reset_clock"]


def reset_clock(
    request: Annotated[Path, path_argument("The license request of the box, or its response to a challenge.")],
    output: Annotated[Path, path_option("-o", "--output", help="The clock reset to write.")],
    home: VendorHomeOption = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Let a box begin its highest-seen time again, once, within seven days."""
    from licensing.clock_reset import RESET_VALID
    from licensing.enrolment_files import MAX_RESPONSE_BYTES
    from licensing.files import check_output, read_bounded, write_new_file
    from licensing.vendor_home import VendorHome

    check_output(output, force, request)
    now = datetime.now(timezone.utc)
    data = read_bounded(request, "license request", MAX_RESPONSE_BYTES)
    vendor = VendorHome.open(vendor_directory(home), passphrase_source())
    write_new_file(output, vendor.reset_clock(data, now=now), replace=force)
    facts = {"output": str(output), "expires": (now + RESET_VALID).isoformat(timespec="seconds")}

    def sentence() -> None:
        print(f"the box can apply it once, until {local_text(now + RESET_VALID)}: {output}")

    print_facts(facts, as_json, sentence)


def apply(
    reset: Annotated[Path, path_argument("The clock reset that the vendor sent.")],
    trust: Trust = None,
    home: CustomerHome = None,
    as_json: Json = False,
) -> None:
    """Apply a clock reset of the vendor to this box."""
    from licensing.clock_reset import MAX_RESET_BYTES, apply_clock_reset, read_clock_reset
    from licensing.clock_witnesses import SystemClock
    from licensing.device_key import open_device_key
    from licensing.files import read_bounded
    from licensing.homes import customer_home, trust_path
    from licensing.machine import read_machine
    from licensing.trust import TrustedKeys

    home_path, clock = customer_home(home), SystemClock()
    data = read_bounded(reset, "clock reset", MAX_RESET_BYTES)
    verified = read_clock_reset(data, TrustedKeys.read(trust_path(trust, home_path)))
    now = clock.now()
    apply_clock_reset(home_path, open_device_key(home_path, read_machine()), verified, now, clock)
    facts = {"home": str(home_path), "vendor": verified.vendor, "reset_id": verified.reset_id, "time": now.isoformat()}

    def sentence() -> None:
        print(f"the highest time seen begins again at {local_text(now)}, as {verified.vendor!r} allows")

    print_facts(facts, as_json, sentence)
