"""Proving to the vendor that a device key is in a TPM: `weightlock challenge` and `weightlock respond`."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

from licensing.device_key import DeviceKey, SoftwareDeviceKey
from licensing.errors import DeviceKeyExistsError, DeviceKeyMissingError, UsageError
from licensing.gpus import Gpu
from licensing.hardware import Hardware
from licensing.homes import customer_home
from licensing.local_time import local_text
from licensing.machine import Machine
from licensing.start_history import StartHistory
from tools.options import (
    CustomerHome,
    Force,
    Json,
    VendorHomeOption,
    passphrase_source,
    path_argument,
    path_option,
    vendor_directory,
)
from tools.output import print_facts

__all__ = ["challenge", "device_key_for_request", "request_file", "respond"]


def challenge(
    request: Annotated[Path, path_argument("The customer's license request, of the tier 'tpm'.")],
    output: Annotated[Path, path_option("-o", "--output", help="The challenge to write.")],
    ca: Annotated[Path, path_option("--ca", help="Certificates of the makers of TPMs that you trust, as PEM.")],
    home: VendorHomeOption = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Challenge the TPM behind a license request: its answer proves that the device key is in it."""
    from licensing.endorsement import MAX_BUNDLE_BYTES
    from licensing.files import check_output, read_bounded, write_new_file
    from licensing.request import MAX_REQUEST_BYTES
    from licensing.vendor_home import VendorHome

    check_output(output, force, request, ca)
    data = read_bounded(request, "license request", MAX_REQUEST_BYTES)
    bundle = read_bounded(ca, "bundle of certificates", MAX_BUNDLE_BYTES)
    vendor = VendorHome.open(vendor_directory(home), passphrase_source())
    made = vendor.challenge(data, bundle, datetime.now(timezone.utc))
    write_new_file(output, made.challenge.to_bytes(), replace=force)
    facts = {
        "output": str(output),
        "challenge_id": made.challenge.challenge_id,
        "expires": made.challenge.expires.isoformat(),
        "machine": made.request.machine_label,
        "device": made.request.thumbprint,
        "certificate_issuer": made.certificate.issuer.rfc4514_string(),
        "certificate_serial": f"{made.certificate.serial_number:x}",
    }

    def sentence() -> None:
        print(f"challenged the TPM of {made.request.machine_label!r}, certified by {facts['certificate_issuer']!r}")
        print(f"send this file to the customer, who answers until {local_text(made.challenge.expires)}: {output}")

    print_facts(facts, as_json, sentence)


def respond(
    challenge: Annotated[Path, path_argument("The vendor's challenge.")],
    output: Annotated[Path, path_option("-o", "--output", help="The response to write.")],
    home: CustomerHome = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Answer the vendor's challenge with this box's TPM."""
    from licensing.device_key import open_device_key
    from licensing.enrolment_box import respond as response_to
    from licensing.enrolment_files import MAX_CHALLENGE_BYTES
    from licensing.files import check_output, read_bounded, write_new_file
    from licensing.machine import read_machine
    from licensing.tpm_device_key import TpmDeviceKey

    check_output(output, force, challenge)
    data = read_bounded(challenge, "challenge", MAX_CHALLENGE_BYTES)
    home_path = customer_home(home)
    device_key = open_device_key(home_path, read_machine())
    if not isinstance(device_key, TpmDeviceKey):
        raise UsageError("the device key of this home is not in a TPM", "name the home of the request with --home")
    write_new_file(output, response_to(device_key, home_path, data, datetime.now(timezone.utc)), replace=force)
    facts = {"output": str(output), "device": device_key.thumbprint}
    print_facts(facts, as_json, lambda: print(f"send this file to the vendor: {output}"))


def device_key_for_request(home: Path, machine: Machine, tpm: str | None, new: bool) -> tuple[DeviceKey, bool]:
    """Returns the device key of a home, made if it has none, and whether it was made.

    Args:
        home: the customer's home.
        machine: the machine as measured.
        tpm: the TPM that a key is made in; None for a key in software.
        new: whether a key that is there is set aside.
    """
    from licensing.device_key import create_device_key, open_device_key

    try:
        if new:
            raise DeviceKeyMissingError("a new one is wanted")
        device_key = open_device_key(home, machine, for_signing=True)
    except DeviceKeyMissingError:
        if tpm is None:
            return create_device_key(home, machine, replace=new), True
        from licensing.tpm_device_key import create_tpm_device_key

        return create_tpm_device_key(home, tpm, replace=new), True
    if tpm is not None and device_key.tier != "tpm":
        raise DeviceKeyExistsError(
            "this home has a device key already, and it is not in a TPM",
            "'--new-device-key' sets it aside; licenses that are bound to it need it",
            "or name another home with --home",
        )
    return device_key, False


def request_file(
    device_key: DeviceKey,
    home: Path,
    hardware: Hardware,
    gpus: Sequence[Gpu],
    certificates: Path | None,
    history: StartHistory | None = None,
) -> bytes:
    """Returns the license request of a device key: signed by it, or with what a vendor needs to challenge its TPM.

    Args:
        device_key, home, hardware, gpus, history: as in `licensing.request.make_request`.
        certificates: a PEM file with the TPM's endorsement certificate and those above it.
    """
    now = datetime.now(timezone.utc)
    if isinstance(device_key, SoftwareDeviceKey):
        if certificates is not None:
            raise UsageError("--tpm-certificate goes with a device key in a TPM", "make one with --tpm")
        from licensing.request import make_request

        return make_request(device_key, hardware, gpus, now, history)
    from licensing.enrolment_box import make_tpm_request
    from licensing.tpm_device_key import TpmDeviceKey

    assert isinstance(device_key, TpmDeviceKey)
    return make_tpm_request(device_key, home, hardware, gpus, now, _read_certificates(certificates), history)


def _read_certificates(path: Path | None) -> list[bytes]:
    if path is None:
        return []
    from licensing.endorsement import MAX_BUNDLE_BYTES, read_bundle, to_der
    from licensing.files import read_bounded

    return [to_der(each) for each in read_bundle(read_bounded(path, "endorsement certificate", MAX_BUNDLE_BYTES))]
