"""Issuing a license: `weightlock issue`."""

import os
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from licensing.errors import TpmProofRequiredError, UsageError
from licensing.local_time import local_text
from licensing.policy import Policy
from licensing.slot_terms import MigBinding, SlotTerms
from tools.options import (
    Force,
    Json,
    VendorHomeOption,
    beginning_of_validity,
    end_of_validity,
    flag,
    passphrase_source,
    path_argument,
    path_option,
    vendor_directory,
)
from tools.output import print_facts

if TYPE_CHECKING:
    from licensing.vendor_home import VendorHome

__all__ = ["issue"]


def issue(
    request: Annotated[Path, path_argument("The customer's license request, or response to a challenge.")],
    model: Annotated[list[str], typer.Option("-m", "--model", help="A locked model or a model id; can be repeated.")],
    customer: Annotated[str, typer.Option(help="The customer's name.")],
    output: Annotated[Path, path_option("-o", "--output", help="The license file to write.")],
    days: Annotated[int | None, typer.Option(min=1, max=3_000_000, help="How many days the license holds.")] = None,
    until: Annotated[str | None, typer.Option(help="The last day, in UTC (2027-12-31), or a moment.")] = None,
    not_before: Annotated[str | None, typer.Option(help="The first day, in UTC, or a moment (default: now).")] = None,
    feature: Annotated[list[str] | None, typer.Option(help="A feature that is licensed; can be repeated.")] = None,
    allow_no_gpu: Annotated[
        bool, flag("--allow-no-gpu", help="License the machine alone if the request names no GPU.")
    ] = False,
    grace_days: Annotated[
        int, typer.Option(min=0, max=366, help="For how many days after its end the license still unlocks.")
    ] = 0,
    clock_step_back: Annotated[
        int, typer.Option(min=0, max=8784, help="By how many hours the box's clock may go back.")
    ] = 24,
    allow_vgpu: Annotated[
        bool, flag("--allow-vgpu", help="License virtual GPUs too, whose UUIDs their host chooses.")
    ] = False,
    bind_mig: Annotated[
        str, typer.Option(help="License a MIG instance by itself (instance), or its whole GPU (parent).")
    ] = "instance",
    spare_gpu: Annotated[
        list[str] | None, typer.Option(help="The UUID of a spare GPU, not in the machine yet; can be repeated.")
    ] = None,
    spare: Annotated[
        list[Path] | None,
        path_option("--spare", help="A spare machine's request: it gets a license file of its own; can be repeated."),
    ] = None,
    require_tpm: Annotated[
        bool, flag("--require-tpm", help="Refuse a request whose device key is not proven to be in a TPM.")
    ] = False,
    home: VendorHomeOption = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Issue a license: for these models, on the box that made the request, until a date."""
    from licensing.enrolment_files import MAX_RESPONSE_BYTES
    from licensing.files import check_output, read_bounded, write_new_file
    from licensing.vendor_home import VendorHome

    requests = [request, *(spare or ())]
    outputs = [output, *(_spare_output(output, number) for number in range(1, len(requests)))]
    for each in outputs:
        check_output(each, force, *requests, *(name for name in model if os.path.exists(name)))
    now = datetime.now(timezone.utc)
    expires = end_of_validity(days, until, now)
    data = [read_bounded(each, "license request", MAX_RESPONSE_BYTES) for each in requests]
    vendor = VendorHome.open(vendor_directory(home), passphrase_source())
    _check_spares(vendor, data, now)
    if require_tpm:
        _check_tiers(vendor, data, now)
    licenses = [
        vendor.issue(
            each,
            [_model_id(name) for name in model],
            customer=customer,
            expires=expires,
            not_before=beginning_of_validity(not_before),
            allow_no_gpu=allow_no_gpu,
            features=tuple(feature or ()),
            policy=Policy(timedelta(days=grace_days), timedelta(hours=clock_step_back), allow_vgpu),
            slots=SlotTerms(cast(MigBinding, bind_mig), tuple(spare_gpu or ()) if number == 0 else ()),
            now=now,
        )
        for number, each in enumerate(data)
    ]
    # The registry knows the license before the file exists, so that no license is ever out there unrecorded; if
    # writing fails, 'weightlock licenses --export' writes the same file again.
    for made, path in zip(licenses, outputs, strict=True):
        write_new_file(path, made.data, replace=force)
    issued, spares = licenses[0], list(zip(licenses, outputs, strict=True))[1:]
    facts = {
        "output": str(output),
        "license_id": issued.license_id,
        "customer": customer,
        "tier": issued.claims.tier,
        "not_before": issued.not_before.isoformat(),
        "expires": issued.expires.isoformat(),
        "slots": [slot.label for slot in issued.claims.slots],
        "spares": [
            {"output": str(path), "license_id": each.license_id, "slots": [slot.label for slot in each.claims.slots]}
            for each, path in spares
        ],
    }

    def sentence() -> None:
        print(f"issued to {customer!r} until {local_text(issued.expires)}: {output}")
        print(f"license id {issued.license_id}, tier {issued.claims.tier}")
        for each, path in spares:
            print(f"for the spare machine {each.claims.slots[0].machine_label!r}: {path}")

    print_facts(facts, as_json, sentence)


def _check_tiers(vendor: "VendorHome", requests: list[bytes], now: datetime) -> None:
    """Refuses a device key in software, whose license would be of the tier `software`."""
    for each in requests:
        request = vendor.verified_request(each, now)
        if request.tier != "tpm":
            raise TpmProofRequiredError(
                f"the device key of {request.machine_label!r} is not in a TPM",
                "ask the customer for a request with 'weightlock request --tpm', in a home without a software key",
            )


def _spare_output(output: Path, number: int) -> Path:
    """Returns the license file of a spare machine: "acme-spare-1.lic" beside "acme.lic"."""
    return output.with_name(f"{output.stem}-spare-{number}{output.suffix}")


def _check_spares(vendor: "VendorHome", requests: list[bytes], now: datetime) -> None:
    """Refuses what is no spare machine before the first license is recorded.

    Raises:
        LicensingError: a request cannot be used, or two come from the same box.
    """
    devices = [vendor.verified_request(each, now).thumbprint for each in requests] if len(requests) > 1 else []
    if len(set(devices)) != len(devices):
        raise UsageError(
            "two of the requests come from the same box",
            "make the request for --spare on the spare machine, with a home directory of its own",
        )


def _model_id(name: str) -> str:
    """Returns the model id that `-m` means: of a locked model's file, or the id itself."""
    from cryptors import read_header

    if os.path.exists(name):
        return read_header(name).model_id
    try:
        return str(uuid.UUID(name))
    except ValueError as cause:
        raise UsageError(
            f"{name[:100]!r} is neither a locked model nor a model id", "'weightlock models' lists the ids"
        ) from cause
