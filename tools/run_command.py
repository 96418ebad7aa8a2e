"""Locked inference: `weightlock run`."""

import io
from pathlib import Path
from typing import Annotated, Any

from licensing.errors import FileAccessError
from tools.options import (
    AllowPickle,
    Architecture,
    CustomerHome,
    Device,
    Force,
    Json,
    Threads,
    Trust,
    check_device_name,
    flag,
    path_argument,
    path_option,
)
from tools.output import print_facts, progress_bar

__all__ = ["run"]


def run(
    locked: Annotated[Path, path_argument("The locked model.")],
    license: Annotated[Path, path_option("--license", help="The license file.")],
    input: Annotated[Path, path_option("--input", help="Named arrays in an .npz file.")],
    output: Annotated[Path, path_option("--output", help="The .npz file to write.")],
    trust: Trust = None,
    home: CustomerHome = None,
    device: Device = "cpu",
    architecture: Architecture = None,
    allow_pickle: AllowPickle = False,
    threads: Threads = None,
    no_harden: Annotated[
        bool, flag("--no-harden", help="Let core dumps be written and debuggers attach, against the default.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run a locked model on arrays, decrypting it in memory only."""
    from cryptors import CryptorFactory, read_header
    from cryptors.frameworks import import_framework
    from licensing.files import check_output, write_new_file
    from licensing.hardening import harden
    from licensing.homes import customer_home, trust_path

    if not no_harden:
        harden()
    check_output(output, force, input, locked, license, trust_path(trust, customer_home(home)))
    header = read_header(locked)
    cryptor = CryptorFactory.instance(header.model_type)
    options = cryptor.run_options(check_device_name(device), architecture, allow_pickle)
    numpy = import_framework("numpy", cryptor.extra)
    inputs = _read_arrays(numpy, input)
    with progress_bar("decrypting") as progress:
        loaded = cryptor.load(
            locked, license=license, trust=trust, home=home, threads=threads, progress=progress, **options
        )
    outputs = cryptor.infer(loaded, inputs, device)
    write_new_file(output, _npz(numpy, outputs), replace=force)
    facts = {
        "output": str(output),
        "model": header.name,
        "outputs": {name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in outputs.items()},
    }

    def sentence() -> None:
        for name, array in outputs.items():
            print(f"{name}: {array.dtype} {'x'.join(map(str, array.shape)) or 'scalar'}")
        print(f"wrote {output}")

    print_facts(facts, as_json, sentence)


def _read_arrays(numpy: Any, path: Path) -> dict[str, Any]:
    from licensing.files import open_input

    with open_input(path, "input") as file:
        try:
            # From the file and not from its bytes: NumPy refuses a file of gigabytes that is no archive by its ends.
            with numpy.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            if all(isinstance(array, numpy.ndarray) for array in arrays.values()):
                return arrays
            cause = None
        except Exception as error:  # NumPy raises ValueError, KeyError, EOFError, BadZipFile and others.
            cause = error
    raise FileAccessError(
        f"the input {str(path)!r} is not an .npz file of plain arrays", "write it with numpy.savez",
        reason="input_malformed",
    ) from cause  # fmt: skip


def _npz(numpy: Any, arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    numpy.savez(buffer, **arrays)
    return buffer.getvalue()
