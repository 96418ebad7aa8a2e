"""Locked inference: `weightlock run`."""

import io
from pathlib import Path
from typing import Annotated, Any

import typer

from cryptors.errors import ModelTypeError
from cryptors.torch_inference import check_device
from licensing.errors import FileAccessError, UsageError
from tools.options import CustomerHome, Force, Json, Threads, Trust, flag, path_argument, path_option
from tools.output import print_facts, progress_bar

__all__ = ["run"]

EXTRAS = {"torchscript": "torch"}
"""The extra of this distribution for the model types that are not called like theirs."""


def run(
    locked: Annotated[Path, path_argument("The locked model.")],
    license: Annotated[Path, path_option("--license", help="The license file.")],
    input: Annotated[Path, path_option("--input", help="Named arrays in an .npz file.")],
    output: Annotated[Path, path_option("--output", help="The .npz file to write.")],
    trust: Trust = None,
    home: CustomerHome = None,
    device: Annotated[str, typer.Option(help="cpu or cuda:N.")] = "cpu",
    architecture: Annotated[
        str | None,
        typer.Option(help="FILE.py:NAME or package.module:NAME, which builds the module for weights without code."),
    ] = None,
    allow_pickle: Annotated[
        bool, flag("--allow-pickle", help="Load whole PyTorch modules, whose pickles can run any code.")
    ] = False,
    threads: Threads = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run a locked model on arrays, decrypting it in memory only."""
    from cryptors import CryptorFactory, read_header
    from cryptors.frameworks import import_framework
    from licensing.files import check_output, write_new_file
    from licensing.homes import customer_home, trust_path

    check_output(output, force, input, locked, license, trust_path(trust, customer_home(home)))
    header = read_header(locked)
    cryptor = CryptorFactory.instance(header.model_type)
    options = _framework_options(header.model_type, device, architecture, allow_pickle)
    numpy = import_framework("numpy", EXTRAS.get(header.model_type, header.model_type))
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


def _framework_options(model_type: str, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
    """Returns what the type's cryptor takes; options that it does not take are refused, not ignored."""
    import re

    if not re.fullmatch("cpu|cuda(:[0-9]{1,3})?", device):
        raise UsageError(f"there is no device {device[:20]!r}", "write cpu or cuda:N")
    if architecture is not None and model_type not in ("torch", "safetensors"):
        raise UsageError(
            f"models of type {model_type!r} bring their architecture with them", "leave --architecture out"
        )
    if allow_pickle and model_type != "torch":
        raise UsageError(f"models of type {model_type!r} are no pickles", "leave --allow-pickle out")
    if model_type in ("torch", "torchscript", "safetensors"):
        check_device(device)
    match model_type:
        case "torch":
            return {"map_location": device, "weights_only": not allow_pickle, "architecture": architecture}
        case "torchscript":
            return {"map_location": device}
        case "safetensors":
            if architecture is None:
                raise ModelTypeError(
                    "a set of tensors cannot run by itself",
                    "name the code that builds the module with --architecture FILE.py:NAME",
                )
            return {"device": device, "architecture": architecture}
        case _:
            return {"device": device}


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
