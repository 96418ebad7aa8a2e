"""OpenVINO: an IR, that is an `.xml` file with the graph and a `.bin` file with the weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptors.base import Cryptor
from cryptors.detect import check_type
from cryptors.errors import ModelRejectedError, ModelTypeError
from cryptors.file_formats import BEGINNING_BYTES, is_openvino_blob
from cryptors.model_type import ModelType
from cryptors.openvino_ir import ir_source, weights_path
from cryptors.openvino_runtime import (
    check_config,
    import_openvino,
    openvino_core,
    openvino_errors,
    openvino_name,
    openvino_said,
)
from cryptors.reader import LockedModel
from cryptors.signature import Signature, TensorSpec, bind_inputs
from cryptors.source import ModelSource, scan_source

__all__ = ["OpenVinoCryptor"]

_DTYPES = {
    "boolean": "bool",
    "bf16": "bfloat16",
    "string": "str",
    "dynamic": None,
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
"""OpenVINO's names of types, as NumPy writes them; others, such as "u4", stay as they are."""


class OpenVinoCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_OPENVINO`."""

    model_type = ModelType.MODEL_OPENVINO
    extra = "openvino"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        names = _names(loaded.inputs, "input")
        bound = bind_inputs(inputs, names)
        try:
            results = loaded({names.index(name): array for name, array in bound.items()})
        except Exception as cause:
            raise ModelRejectedError(f"OpenVINO could not run the model: {openvino_said(cause)}") from cause
        return {name: results[number] for number, name in enumerate(_names(loaded.outputs, "output"))}

    def signature(self, loaded: Any) -> Signature:
        return Signature(_specs(loaded.inputs, "input"), _specs(loaded.outputs, "output"))

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        openvino_name(device)
        return super().run_options(device, architecture, allow_pickle)

    def _decrypt(self, model: LockedModel, extensions: Sequence[Any] = ()) -> Any:
        """Returns an `openvino.Model`, not compiled for any device.

        Args:
            model: the open locked model.
            extensions: as in `openvino.Core.add_extension`: libraries of operators that OpenVINO does not have.

        Raises:
            ModelTypeError: it is a model that was compiled before it was locked, of which no graph is left.
        """
        if _is_compiled(model):
            raise ModelTypeError("a compiled OpenVINO model has no graph to decrypt", "use load()")
        return _read(openvino_core(extensions), model)

    def _load(
        self,
        model: LockedModel,
        device: str = "cpu",
        device_name: str | None = None,
        config: Mapping[str, Any] | None = None,
        extensions: Sequence[Any] = (),
    ) -> Any:
        """Returns an `openvino.CompiledModel`.

        Args:
            model: as in `decrypt`; or what `export_model()` of a model returned that was compiled for the CPU.
            device: "cpu"; OpenVINO has no CUDA devices.
            device_name: as in `openvino.Core.compile_model`, such as "GPU" or "AUTO"; overrides `device`.
            config: as there. Properties that make OpenVINO write the model to a file are refused.
            extensions: see `decrypt`.
        """
        name, properties = device_name or openvino_name(device), dict(config or {})
        check_config(properties)
        core = openvino_core(extensions, name)
        if _is_compiled(model):
            blob = _tensor(model, model.file().path)
            with openvino_errors():
                return core.import_model(blob, name, properties)
        read = _read(core, model)
        with openvino_errors():
            return core.compile_model(read, name, properties)

    def _decrypt_bytes(self, data: bytes, **options: Any) -> Any:
        raise ModelTypeError("the old toolkit had no OpenVINO models")

    def _source(self, model: Path) -> ModelSource:
        files = scan_source(model)
        check_type(model, self.model_type)
        return ir_source(model, files)


def _is_compiled(model: LockedModel) -> bool:
    return is_openvino_blob(model.file().read(BEGINNING_BYTES) or b"")


def _read(core: Any, model: LockedModel) -> Any:
    """Reads an IR. Its weights are decrypted straight into a tensor of OpenVINO's, which the graph then holds on to."""
    entry = model.file()
    path = weights_path(entry.path)
    weights = _tensor(model, path if any(file.path == path for file in model.index.files) else None)
    graph = entry.read_all()
    with openvino_errors():
        return core.read_model(graph, weights)


def _tensor(model: LockedModel, path: str | None) -> Any:
    """Returns a file's bytes as a tensor whose memory is OpenVINO's; an empty one where there is no file."""
    openvino = import_openvino()
    file = None if path is None else model.file(path)
    tensor = openvino.Tensor(openvino.Type.u8, openvino.Shape([file.size if file else 0]))
    if file and file.size:
        file.read_all_into(memoryview(tensor.data))
    return tensor


def _names(ports: Sequence[Any], kind: str) -> list[str]:
    """Returns one name for each input or output; one can have several, or none."""
    return [min(port.names, default=f"{kind}_{number}") for number, port in enumerate(ports)]


def _specs(ports: Sequence[Any], kind: str) -> tuple[TensorSpec, ...]:
    return tuple(map(_spec, _names(ports, kind), ports))


def _spec(name: str, port: Any) -> TensorSpec:
    type_name, shape = port.get_element_type().get_type_name(), port.get_partial_shape()
    fixed = None if shape.rank.is_dynamic else tuple(None if size.is_dynamic else size.get_length() for size in shape)
    return TensorSpec(name, _DTYPES.get(type_name, type_name), fixed)
