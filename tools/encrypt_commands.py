"""From plaintext to locked model, and the vendor's way back: `weightlock encrypt` and `weightlock decrypt`."""

import os
from pathlib import Path
from typing import Annotated

import typer

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
    from cryptors import EncryptOptions, lock_model
    from licensing.vendor_home import VendorHome

    vendor = VendorHome.open(vendor_directory(home), passphrase_source())
    with progress_bar("encrypting") as progress:
        options = EncryptOptions(name=name, replace=force, threads=threads, progress=progress)
        header = lock_model(vendor, model, output, model_type, options)
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
    from cryptors.keys import KeySource
    from cryptors.reader import LockedModel
    from cryptors.unpack import unpack
    from licensing.files import check_output
    from licensing.vendor_home import VendorHome

    header = read_header(locked)
    if not os.path.isdir(output):
        check_output(output, force, locked)
    vendor = VendorHome.open(vendor_directory(home), passphrase_source())
    if header.parent is None:
        content_key = vendor.content_key(header.model_id)
    else:
        content_key = KeySource(vendor.content_key(header.parent.model_id)).content_key(locked)
    with (
        progress_bar("decrypting") as progress,
        LockedModel(locked, content_key, threads, progress) as model,
    ):
        unpack(model, output, replace=force)
    facts = {"output": str(output), "model_id": header.model_id, "content_bytes": header.content_bytes}
    print_facts(
        facts, as_json, lambda: print(f"decrypted {header.name!r} ({size_text(header.content_bytes)}): {output}")
    )
