"""The vendor's commands: init, encrypt, decrypt, issue, licenses, models."""

import contextlib
import os
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from licensing.errors import UsageError, WeightlockError
from licensing.local_time import local_text
from tools.options import (
    Force,
    Json,
    Threads,
    VendorHomeOption,
    ask_passphrase,
    beginning_of_validity,
    end_of_validity,
    passphrase_source,
    path_argument,
    path_option,
    vendor_directory,
)
from tools.output import print_facts, print_table, progress_bar, size_text

__all__ = ["decrypt", "encrypt", "init", "issue", "licenses", "models"]

VENDOR = "Vendor"


def init(
    name: Annotated[str, typer.Option("--name", help="Your name, as customers will read it in their licenses.")],
    home: VendorHomeOption = None,
    algorithm: Annotated[str, typer.Option(help="Of the signing key: EdDSA (Ed25519), PS256 or ES256.")] = "EdDSA",
    passphrase: Annotated[
        bool,
        typer.Option("--passphrase", help="Protect the home with a passphrase: $WEIGHTLOCK_PASSPHRASE, or asked for."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the vendor's home: signing key, registry, and trust.jwks for customers."""
    from licensing.vendor_home import VendorHome

    if algorithm not in ("EdDSA", "PS256", "ES256"):
        raise UsageError(f"there is no algorithm {algorithm[:20]!r}", "write EdDSA, PS256 or ES256")
    secret = os.environ.get("WEIGHTLOCK_PASSPHRASE") or (_new_passphrase() if passphrase else None)
    vendor = VendorHome.create(vendor_directory(home), name, algorithm=algorithm, passphrase=secret)  # type: ignore[arg-type]
    protected = secret is not None
    facts = {
        "name": name,
        "home": str(vendor_directory(home)),
        "trust": str(vendor.trust_path),
        "passphrase": protected,
    }

    def sentence() -> None:
        print(f"made the vendor's home {facts['home']!r}")
        print(f"give customers its trust file: {facts['trust']}")
        if not protected:
            print("no passphrase protects it: whoever can read the directory has your keys (see --passphrase)")

    print_facts(facts, as_json, sentence)


def encrypt(
    model: Annotated[Path, path_argument("The model: a file or a directory.")],
    output: Annotated[Path, path_option("-o", "--output", help="The locked model to write, such as net.onnx.locked.")],
    model_type: Annotated[
        str | None, typer.Option("--type", help="The model's type (default: told from its content).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What people call the model (default: its file's name).")] = None,
    home: VendorHomeOption = None,
    force: Force = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Encrypt a model once, under a fresh content key that the registry keeps."""
    from cryptors import CryptorFactory, EncryptOptions, Header
    from licensing.content_key import new_content_key
    from licensing.vendor_home import VendorHome

    vendor = VendorHome.open(vendor_directory(home), passphrase_source())
    cryptor = CryptorFactory.instance(model_type or _detected_type(model))
    content_key, now, recorded = new_content_key(), datetime.now(timezone.utc), []

    def record(header: Header) -> None:
        recorded.append(header.model_id)
        vendor.add_model(
            model_id=header.model_id,
            name=header.name,
            model_type=header.model_type,
            content_key=content_key,
            content_bytes=header.content_bytes,
            created=now,
        )

    with progress_bar("encrypting") as progress:
        options = EncryptOptions(
            name=name, replace=force, threads=threads, progress=progress, before_publish=record, now=now
        )
        try:
            header = cryptor.encrypt(model, content_key, output, options)
        except BaseException:
            for model_id in recorded:
                _forget_unpublished(vendor, model_id, output)
            raise
    facts = {
        "output": str(output),
        "model_id": header.model_id,
        "name": header.name,
        "type": header.model_type,
        "key_id": header.key_id,
        "content_bytes": header.content_bytes,
        "files": header.files,
    }

    def sentence() -> None:
        print(f"locked {header.name!r} ({header.model_type}, {size_text(header.content_bytes)}): {output}")
        print(f"model id {header.model_id}")

    print_facts(facts, as_json, sentence)


def decrypt(
    locked: Annotated[Path, path_argument("The locked model.")],
    output: Annotated[Path, path_option("-o", "--output", help="The plaintext model to write.")],
    home: VendorHomeOption = None,
    force: Force = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Write a locked model's plaintext again, from the key in the registry."""
    from cryptors import read_header
    from cryptors.reader import LockedModel
    from cryptors.unpack import unpack
    from licensing.files import check_output
    from licensing.vendor_home import VendorHome

    header = read_header(locked)
    if not os.path.isdir(output):
        check_output(output, force, locked)
    vendor = VendorHome.open(vendor_directory(home), passphrase_source())
    content_key = vendor.content_key(header.model_id)
    with (
        progress_bar("decrypting") as progress,
        LockedModel(locked, content_key, threads, progress) as model,
    ):
        unpack(model, output, replace=force)
    facts = {"output": str(output), "model_id": header.model_id, "content_bytes": header.content_bytes}
    print_facts(
        facts, as_json, lambda: print(f"decrypted {header.name!r} ({size_text(header.content_bytes)}): {output}")
    )


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
        bool, typer.Option("--allow-no-gpu", help="License the machine alone if the request names no GPU.")
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


def licenses(
    export: Annotated[str | None, typer.Option(help="Write this license (its id) to a file again.")] = None,
    output: Annotated[Path | None, path_option("-o", "--output", help="The file for --export.")] = None,
    home: VendorHomeOption = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """List the licenses that were issued, or write one of them to a file again."""
    from licensing.files import check_output, write_new_file
    from licensing.vendor_home import VendorHome

    vendor = VendorHome.open(vendor_directory(home), passphrase_source())
    if (export is None) != (output is None):
        raise UsageError("--export and -o belong together")
    if export is not None and output is not None:
        check_output(output, force)
        write_new_file(output, vendor.license_file(export), replace=force)
        print_facts({"output": str(output), "license_id": export}, as_json, lambda: print(f"wrote {output}"))
        return
    records = vendor.licenses()
    now = datetime.now(timezone.utc)
    facts = {"licenses": [_license_facts(record) for record in records]}

    def sentence() -> None:
        for record in records:
            state = "ended" if now >= record.expires else "holds"
            print(f"{record.license_id}  {record.customer}")
            print_table(
                [
                    ("models", ", ".join(record.models)),
                    ("machine", record.machine_label),
                    ("slots", ", ".join(record.slots)),
                    (state, f"until {local_text(record.expires)}"),
                ]
            )
        if not records:
            print("no license has been issued yet")

    print_facts(facts, as_json, sentence)


def models(home: VendorHomeOption = None, as_json: Json = False) -> None:
    """List the models that were encrypted."""
    from licensing.vendor_home import VendorHome

    records = VendorHome.open(vendor_directory(home), passphrase_source()).models()
    facts = {
        "models": [
            {
                "model_id": record.model_id,
                "name": record.name,
                "type": record.model_type,
                "content_bytes": record.content_bytes,
                "created": record.created.isoformat(),
            }
            for record in records
        ]
    }

    def sentence() -> None:
        for record in records:
            print(f"{record.model_id}  {record.model_type:<12} {size_text(record.content_bytes):>9}  {record.name}")
        if not records:
            print("no model has been encrypted yet")

    print_facts(facts, as_json, sentence)


def _new_passphrase() -> str:
    first = ask_passphrase("new passphrase of the vendor's home")
    if ask_passphrase("the same passphrase again") != first:
        raise UsageError("the two passphrases differ")
    return first


def _detected_type(model: Path) -> Any:
    from cryptors.detect import detect_type
    from cryptors.errors import ModelTypeError

    detected = detect_type(model)
    if detected is None:
        raise ModelTypeError(f"the type of the model {str(model)!r} cannot be told", "name it with --type")
    return detected


def _forget_unpublished(vendor: Any, model_id: str, output: Path) -> None:
    """Removes the record of a model whose file did not get its name.

    The failure may also have come after that, such as an interrupt or a disk that fails to flush its directory: the
    file is whole then, and its content key must not be lost.
    """
    from cryptors import CryptorError, read_header

    # The failure that ended the command is the one to tell, and a record too many harms nobody.
    with contextlib.suppress(WeightlockError):
        try:
            published = os.path.lexists(output) and read_header(output).model_id == model_id
        except CryptorError:  # With --force: what was there before, and is no locked model.
            published = False
        if not published:
            vendor.remove_model(model_id)


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


def _license_facts(record: Any) -> dict[str, Any]:
    return {
        "license_id": record.license_id,
        "customer": record.customer,
        "status": record.status,
        "device": record.device_thumbprint,
        "machine": record.machine_label,
        "slots": list(record.slots),
        "models": list(record.models),
        "issued": record.issued.isoformat(),
        "not_before": record.not_before.isoformat(),
        "expires": record.expires.isoformat(),
    }
