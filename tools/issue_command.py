"""Issuing a license: `weightlock issue`."""

import os
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from licensing.errors import UsageError
from licensing.local_time import local_text
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

__all__ = ["issue"]


def issue(
    request: Annotated[Path, path_argument("The customer's license request.")],
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
    home: VendorHomeOption = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Issue a license: for these models, on the box that made the request, until a date."""
    from licensing.files import check_output, read_bounded, write_new_file
    from licensing.request import MAX_REQUEST_BYTES
    from licensing.vendor_home import VendorHome

    check_output(output, force, request, *(name for name in model if os.path.exists(name)))
    now = datetime.now(timezone.utc)
    expires = end_of_validity(days, until, now)
    data = read_bounded(request, "license request", MAX_REQUEST_BYTES)
    vendor = VendorHome.open(vendor_directory(home), passphrase_source())
    issued = vendor.issue(
        data,
        [_model_id(name) for name in model],
        customer=customer,
        expires=expires,
        not_before=beginning_of_validity(not_before),
        allow_no_gpu=allow_no_gpu,
        features=tuple(feature or ()),
        now=now,
    )
    # The registry knows the license before the file exists, so that no license is ever out there unrecorded; if
    # writing fails, 'weightlock licenses --export' writes the same file again.
    write_new_file(output, issued.data, replace=force)
    facts = {
        "output": str(output),
        "license_id": issued.license_id,
        "customer": customer,
        "not_before": issued.not_before.isoformat(),
        "expires": issued.expires.isoformat(),
    }

    def sentence() -> None:
        print(f"issued to {customer!r} until {local_text(issued.expires)}: {output}")
        print(f"license id {issued.license_id}")

    print_facts(facts, as_json, sentence)


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
