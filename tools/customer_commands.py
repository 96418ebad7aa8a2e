"""The customer's commands: request and status."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from licensing.errors import DeviceKeyMismatchError, GpuUnreadableError, LicensingError, UsageError
from licensing.gpus import Gpu
from licensing.hardware import Hardware, computing_devices, read_hardware
from licensing.homes import customer_home
from licensing.license import License
from licensing.local_time import local_text
from tools.enrol_commands import device_key_for_request, request_file
from tools.options import CustomerHome, Force, Json, Trust, check_device_name, flag, path_argument, path_option
from tools.output import print_facts

__all__ = ["request", "status"]


def request(
    output: Annotated[Path, path_option("-o", "--output", help="The license request to write.")],
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="all (default), none, a GPU's index or UUID as in 'nvidia-smi -L'; can be repeated."),
    ] = None,
    home: CustomerHome = None,
    new_device_key: Annotated[
        bool, flag("--new-device-key", help="Set the device key aside and make another.")
    ] = False,
    tpm: Annotated[
        str | None, typer.Option(help="Make the device key in this TPM, such as device:/dev/tpmrm0.")
    ] = None,
    tpm_certificate: Annotated[
        Path | None,
        path_option("--tpm-certificate", help="The TPM's endorsement certificate as PEM, if the TPM does not hold it."),
    ] = None,
    prove: Annotated[
        bool,
        flag("--prove", help="Remember this start; say whether the hardware was the same at earlier ones."),
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make this box's device key, if it has none, and a license request to send to the vendor.

    With --prove, repeat it after each restart of the machine or the container: the request tells the vendor, and the
    command tells you, whether a license would have held.
    """
    from licensing.files import check_output, write_new_file
    from tools.prove import explained, history_facts, history_text
    from tools.prove import prove as prove_start

    check_output(output, force)
    home_path, hardware = customer_home(home), read_hardware()
    gpus = _chosen_gpus(gpu or ["all"], hardware)
    try:
        device_key, made = device_key_for_request(home_path, hardware.machine, tpm, new_device_key)
    except DeviceKeyMismatchError as error:
        raise explained(error, home_path, hardware.machine) from error
    history = prove_start(home_path, device_key, hardware) if prove else None
    data = request_file(device_key, home_path, hardware, gpus, tpm_certificate, history)
    write_new_file(output, data, replace=force)
    seconds = int(datetime.now(timezone.utc).timestamp())
    summary = None if history is None else history.summary(hardware.machine.fingerprint, gpus, seconds)
    facts = {
        "output": str(output),
        "home": str(home_path),
        "device": device_key.thumbprint,
        "device_key_made": made,
        "tier": device_key.tier,
        "machine_source": hardware.machine.source,
        "gpus": [{"uuid": gpu.uuid, "name": gpu.name, "parent": gpu.parent_uuid} for gpu in gpus],
        **history_facts(summary),
    }

    def sentence() -> None:
        print(f"{'made a device key' if made else 'used the device key'} in {str(home_path)!r}")
        print(f"machine ID from {hardware.machine.source}")
        for gpu in gpus:
            print(f"GPU {gpu.label}")
        if not gpus:
            print("no GPU: the request names the machine alone")
        if summary is not None:
            print(history_text(summary))
            if summary.starts == 1:
                print("do the same again after a restart, and send the vendor the request of that time")
        print(f"send this file to the vendor: {output}")
        if device_key.tier == "tpm":
            print("the vendor answers with a challenge to the TPM: see 'weightlock respond'")

    print_facts(facts, as_json, sentence)


def status(
    license: Annotated[Path, path_argument("The license file.")],
    trust: Trust = None,
    home: CustomerHome = None,
    device: Annotated[str | None, typer.Option(help="Check it for this device: cpu or cuda:N.")] = None,
    as_json: Json = False,
) -> None:
    """Check a license on this box: what holds, what fails, how long it lasts, which tier."""
    from licensing.status import examine

    report = examine(license, trust=trust, home=home, device=None if device is None else check_device_name(device))
    error = report.error
    facts: dict[str, Any] = {
        "ok": error is None,
        "checks": [
            {
                "name": check.name,
                "ok": check.error is None,
                "message": check.sentence,
                **({"warning": True} if check.warning else {}),
                **({"reason": check.error.reason, "hints": list(check.error.hints)} if check.error else {}),
            }
            for check in report.checks
        ],
        **(_license_facts(report.license) if report.license else {}),
    }
    if error is not None:
        facts = {**facts, "reason": error.reason, "message": error.message, "hints": list(error.hints)}

    def sentence() -> None:
        for check in report.checks:
            mark = "fails" if check.error else "soon" if check.warning else "holds"
            print(f"{mark:<5}  {check.name}: {check.sentence}")
        if report.license is not None:
            print(f"models: {', '.join(model.name for model in report.license.models)}")

    print_facts(facts, as_json, sentence)
    if error is not None:
        raise StatusRefusedError(error)


class StatusRefusedError(LicensingError):
    """The license is refused; the facts are printed already, and the sentence and hints are still to come."""

    def __init__(self, refusal: LicensingError) -> None:
        super().__init__(refusal.message, *refusal.hints, reason=refusal.reason)


def _chosen_gpus(choices: list[str], hardware: Hardware) -> list[Gpu]:
    """Returns the GPUs and MIG instances that `--gpu` means."""
    devices = computing_devices(hardware.gpus.gpus)
    if choices == ["none"]:
        return []
    if hardware.gpus.problems and choices == ["all"]:
        raise GpuUnreadableError(
            f"not all GPUs of this box can be read: {hardware.gpus.problems[0]}",
            "check that 'nvidia-smi -L' lists them",
            "name those that the license is for with --gpu INDEX, or --gpu none for the machine alone",
        )
    if choices == ["all"]:
        return devices
    chosen: dict[str, Gpu] = {}
    for choice in choices:
        found = [gpu for gpu in devices if choice in (str(gpu.index), gpu.uuid)]
        if not found:
            known = ", ".join(f"{gpu.index} {gpu.label}" for gpu in devices) or "none"
            raise UsageError(f"this box has no GPU {choice[:60]!r}", f"it has {known}")
        chosen.update({gpu.identity: gpu for gpu in found})
    return list(chosen.values())


def _license_facts(license: License) -> dict[str, Any]:
    return {
        "license_id": license.license_id,
        "vendor": license.vendor,
        "customer": license.customer,
        "tier": license.tier,
        "not_before": license.not_before.isoformat(),
        "expires": license.expires.isoformat(),
        "expires_local": local_text(license.expires),
        "models": [{"model_id": model.model_id, "name": model.name} for model in license.models],
        "features": list(license.features),
    }
