"""The vendor's home and its records: `weightlock vendor init`, `licenses` and `models`."""

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from licensing.errors import UsageError
from licensing.local_time import local_text
from tools.options import (
    Force,
    Json,
    VendorHomeOption,
    ask_passphrase,
    flag,
    passphrase_source,
    path_option,
    vendor_directory,
)
from tools.output import print_facts, print_table, size_text

__all__ = ["init", "licenses", "models"]


def init(
    name: Annotated[str, typer.Option("--name", help="Your name, as customers will read it in their licenses.")],
    home: VendorHomeOption = None,
    algorithm: Annotated[str, typer.Option(help="Of the signing key: EdDSA (Ed25519), PS256 or ES256.")] = "EdDSA",
    passphrase: Annotated[
        bool,
        flag("--passphrase", help="Protect the home with a passphrase: $WEIGHTLOCK_PASSPHRASE, or asked for."),
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
