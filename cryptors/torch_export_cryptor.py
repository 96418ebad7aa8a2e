"""torch.export: the programs that `torch.export.save` writes (`.pt2`)."""

import contextlib
import io
import logging
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptors.base import Cryptor
from cryptors.errors import ModelRejectedError, ModelSourceError, ModelTypeError, UnsafePickleError
from cryptors.frameworks import first_line, import_framework
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.signature import Signature, TensorSpec, bind_inputs
from cryptors.source import ModelSource
from cryptors.torch_export_archive import ExportArchive
from cryptors.torch_inference import check_device, torch_device

__all__ = ["TorchExportCryptor"]

BUFFER_BYTES = 64 * 1024


class TorchExportCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_TORCH_EXPORT`.

    An exported program is a program. Pickles that could run code are refused here, but PyTorch also evaluates the
    expressions of a graph as Python: load only the programs of vendors whom you would trust with a program.
    """

    model_type = ModelType.MODEL_TORCH_EXPORT
    extra = "torch"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        torch = import_framework("torch", "torch")
        specs = _specs(loaded.graph_signature.input_specs, "USER_INPUT")
        constants = {spec.arg.name: spec.arg.value for spec in specs if hasattr(spec.arg, "value")}
        bound = bind_inputs(inputs, [spec.arg.name for spec in specs], optional=list(constants))
        try:
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(array).to(device) for name, array in bound.items()}
                flat = [{**constants, **tensors}[spec.arg.name] for spec in specs]
                arguments, keywords = loaded.call_spec.in_spec.unflatten(flat)
                outputs = loaded.call_spec.out_spec.flatten_up_to(loaded.module()(*arguments, **keywords))
                named = zip(_output_names(loaded.call_spec.out_spec), outputs, strict=True)
                return {name: torch.as_tensor(value).cpu().numpy() for name, value in named if value is not None}
        except Exception as cause:
            raise ModelRejectedError(f"PyTorch could not run the model: {first_line(cause)}") from cause

    def signature(self, loaded: Any) -> Signature:
        values = {node.name: node.meta.get("val") for node in loaded.graph.nodes}
        inputs = _specs(loaded.graph_signature.input_specs, "USER_INPUT")
        outputs = _specs(loaded.graph_signature.output_specs, "USER_OUTPUT")
        names = _output_names(loaded.call_spec.out_spec)
        return Signature(
            tuple(_tensor_spec(spec.arg.name, values.get(spec.arg.name)) for spec in inputs),
            tuple(_tensor_spec(name, values.get(spec.arg.name)) for name, spec in zip(names, outputs, strict=True)),
        )

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        check_device(device)
        return {
            "map_location": super().run_options(device, architecture, False)["device"],
            "weights_only": not allow_pickle,
        }

    def _computing_device(self, framework_options: dict[str, Any], loading: bool) -> str | None:
        return torch_device(framework_options.get("map_location"))

    def _decrypt(
        self,
        model: LockedModel,
        map_location: Any = None,
        weights_only: bool = True,
        extra_files: dict[str, Any] | None = None,
    ) -> Any:
        """Returns the `ExportedProgram`; weights are decrypted straight into their storages, one after another.

        Args:
            model: the open locked model.
            map_location: a device, or devices by those that they replace, as in
                `torch.export.passes.move_to_device_pass`; by default, the program stays on those it was exported for.
            weights_only: False allows pickles that can run code, such as sample inputs of classes of one's own: only
                for a vendor whom the caller trusts like the author of a program.
            extra_files: as in `torch.export.load`, which fills it.
        """
        with io.BufferedReader(model.file(), BUFFER_BYTES) as file:
            return _load(file, map_location, weights_only, extra_files)

    def _decrypt_bytes(
        self,
        data: bytes,
        map_location: Any = None,
        weights_only: bool = True,
        extra_files: dict[str, Any] | None = None,
    ) -> Any:
        return _load(io.BytesIO(data), map_location, weights_only, extra_files)

    def _source(self, model: Path) -> ModelSource:
        """Returns the archive; refuses one that no customer could load without plaintext on a disk."""
        source = super()._source(model)
        try:
            with open(model, "rb") as file:
                is_compiled = ExportArchive(file).holds_compiled_code
        except zipfile.BadZipFile as cause:
            raise ModelSourceError(f"the archive {os.fspath(model)!r} is damaged: {cause}") from cause
        if is_compiled:
            raise ModelSourceError(
                f"the archive {os.fspath(model)!r} holds code of AOTInductor, which PyTorch unpacks to disk",
                "save the exported program alone, with torch.export.save",
            )
        return source


def _load(file: Any, map_location: Any, weights_only: bool, extra_files: dict[str, Any] | None) -> Any:
    if map_location is not None:
        check_device(str(map_location))
    torch = import_framework("torch", "torch")
    export = import_framework("torch.export", "torch")
    archive = ExportArchive(file)
    if archive.holds_compiled_code:
        raise ModelTypeError(
            "the model holds code of AOTInductor, which PyTorch would unpack to disk", reason="model_type_unsupported"
        )
    if weights_only:
        _check_pickles(torch, archive)
    with _reason_kept() as kept:
        try:
            file.seek(0)
            program = export.load(file, extra_files=extra_files)
        except Exception as error:
            cause = kept[0] if kept else error
            if missing := [name for name in archive.operators() if not _is_there(torch, name)]:
                raise ModelRejectedError(
                    f"the model calls the operator {missing[0]!r}, which PyTorch does not have here",
                    "import the package that registers it before the model is loaded",
                ) from cause
            raise cause from None
    if map_location is None:
        return program
    passes = import_framework("torch.export.passes", "torch")
    return passes.move_to_device_pass(program, map_location)


def _check_pickles(torch: Any, archive: ExportArchive) -> None:
    """Refuses pickles that are more than tensors: `torch.export.load` would fall back on loading them all the same."""
    for pickled in archive.pickles():
        try:
            torch.load(io.BytesIO(pickled), weights_only=True)
        except Exception as cause:
            raise UnsafePickleError(
                "the model holds a pickle that is more than tensors, and loading it could run code",
                "if you trust its vendor as you trust a program's author: weights_only=False, or --allow-pickle",
            ) from cause


@contextlib.contextmanager
def _reason_kept() -> Iterator[list[BaseException]]:
    """Catches the error that `torch.export.load` writes to its log before it tries the old layout and fails again."""
    kept: list[BaseException] = []
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        if record.thread != thread or not record.exc_info or record.exc_info[1] is None:
            return True
        kept.append(record.exc_info[1])
        return False

    logger = logging.getLogger("torch.export")
    logger.addFilter(keep)
    try:
        yield kept
    finally:
        logger.removeFilter(keep)


def _is_there(torch: Any, operator: str) -> bool:
    found = torch.ops
    for name in operator.split("."):
        found = getattr(found, name, None)
    return found is not None


def _specs(specs: list[Any], kind: str) -> list[Any]:
    """Returns those of the graph's inputs or outputs that are the caller's, and no weights."""
    return [spec for spec in specs if spec.kind.name == kind]


def _output_names(out_spec: Any) -> list[str]:
    """Returns a name for each value that the program returns: the keys of a dict, or else numbers."""
    if out_spec.is_leaf():
        return ["output"]
    if out_spec.type is dict and out_spec.num_nodes == out_spec.num_children + 1:
        return [str(key) for key in out_spec.context]
    return [f"output_{number}" for number in range(out_spec.num_leaves)]


def _tensor_spec(name: str, value: Any) -> TensorSpec:
    if not hasattr(value, "dtype"):
        return TensorSpec(name)
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in value.shape)
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), shape)
