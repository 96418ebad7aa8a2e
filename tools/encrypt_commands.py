"""From plaintext to locked model, and the vendor's way back: `weightlock encrypt` and `weightlock decrypt`."""

import contextlib
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from licensing.errors import WeightlockError
from tools.options import (
    Force,
    Json,
    Threads,
    VendorHomeOption,
    passphrase_source,
    path_argument,
    path_option,
    vendor_directory,
)
from tools.output import print_facts, progress_bar, size_text

__all__ = ["decrypt", "encrypt"]


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
