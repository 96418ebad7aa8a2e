"""ONNX: one file, or a model with external data, also above 2 GB."""

import os
from pathlib import Path
from typing import Any

from cryptors.base import Cryptor
from cryptors.detect import check_type
from cryptors.errors import FrameworkMissingError, ModelRejectedError, ModelSourceError, ModelTypeError
from cryptors.frameworks import import_framework
from cryptors.memory import PlaintextMemory
from cryptors.model_type import ModelType
from cryptors.onnx_external_data import ExternalData, external_paths
from cryptors.reader import LockedModel
from cryptors.signature import Signature, TensorSpec, bind_inputs
from cryptors.source import ModelSource, scan_source
from licensing.errors import UsageError

__all__ = ["OnnxCryptor"]

PROTOBUF_LIMIT = 2**31 - 1
"""The largest protobuf message, and so the largest ONNX file without external data, in bytes."""

LARGE_INITIALIZER_BYTES = 2**20
"""From this size on, an initializer goes to ONNX Runtime as a value of its own, which it copies once. What it finds in
files in memory, it copies twice, and it takes nothing of 2 GiB or more from there."""


class OnnxCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_ONNX`."""

    model_type = ModelType.MODEL_ONNX
    extra = "onnx"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        named = bind_inputs(inputs, [node.name for node in loaded.get_inputs()])
        try:
            outputs = loaded.run(None, named)
        except Exception as cause:
            raise ModelRejectedError(f"ONNX Runtime could not run the model: {str(cause)[:300]}") from cause
        names = [node.name for node in loaded.get_outputs()]
        return dict(zip(names, outputs, strict=True))

    def signature(self, loaded: Any) -> Signature:
        return Signature(
            *(tuple(_spec(node) for node in nodes) for nodes in (loaded.get_inputs(), loaded.get_outputs()))
        )

    def _decrypt(self, model: LockedModel) -> bytes:
        """Returns the model as the bytes of one ONNX file; external data is put inside.

        Raises:
            ModelTypeError: that would be larger than 2 GB, which ONNX files cannot be; `load` can.
        """
        data = model.file().read_all()
        others = [file.path for file in model.index.files if file.path != model.file().path]
        if not others:
            return data
        if model.index.content_bytes > PROTOBUF_LIMIT:
            raise ModelTypeError(
                "the model is larger than 2 GB, which one ONNX file cannot hold",
                "use load(), which gives an InferenceSession",
                reason="model_too_large",
            )
        files = {_beside(model.file().path, path): model.file(path) for path in others}
        return ExternalData(data, files).inline()

    def _load(
        self,
        model: LockedModel,
        device: str = "cpu",
        providers: list[Any] | None = None,
        sess_options: Any = None,
    ) -> Any:
        """Returns an `onnxruntime.InferenceSession`.

        Args:
            model: the open locked model.
            device: "cpu" or "cuda:N"; stands for the execution providers that fit it.
            providers: as in `InferenceSession`; overrides `device`.
            sess_options: as in `InferenceSession`. A model with external data needs options of its own: they name
                its memory, which is gone when the session is made.
        """
        onnxruntime = _import_onnxruntime()
        options = sess_options or onnxruntime.SessionOptions()
        entry = model.file()
        data = entry.read_all()
        others = [file for file in model.index.files if file.path != entry.path]
        memories = {_beside(entry.path, file.path): PlaintextMemory(file.size) for file in others}
        try:
            for file, memory in zip(others, memories.values(), strict=True):
                model.file(file.path).read_all_into(memory.view)
            if memories:
                buffers = {name: memory.view for name, memory in memories.items()}
                data = _add_external_data(onnxruntime, options, data, buffers)
            # ONNX Runtime copies what it takes from these memories, and documents that they can be freed when the
            # session is made (AddExternalInitializers, AddExternalInitializersFromFilesInMemory).
            return onnxruntime.InferenceSession(data, options, providers=providers or _providers(onnxruntime, device))
        finally:
            for memory in memories.values():
                memory.close()

    def _decrypt_bytes(self, data: bytes) -> bytes:
        return data

    def _load_bytes(
        self, data: bytes, device: str = "cpu", providers: list[Any] | None = None, sess_options: Any = None
    ) -> Any:
        onnxruntime = _import_onnxruntime()
        return onnxruntime.InferenceSession(data, sess_options, providers=providers or _providers(onnxruntime, device))

    def _source(self, model: Path) -> ModelSource:
        """Returns the model's files: the `.onnx` file, and the external data that it names, wherever it was started."""
        files = scan_source(model)
        if os.path.isdir(model):
            entry = _single_onnx(model, list(files))
            check_type(model / entry, self.model_type)
            _check_all_there(external_paths(model / entry), entry, files)
            return ModelSource(files, directory=True, entry=entry)
        check_type(model, self.model_type)
        external = external_paths(model)
        if not external:
            return ModelSource(files, directory=False)
        files.update({path: model.parent / path for path in external})
        return ModelSource(files, directory=True, entry=model.name)


def _spec(node: Any) -> TensorSpec:
    """Returns what ONNX Runtime says of an input or output; it writes types like "tensor(float)"."""
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(node.name, {"float": "float32", "double": "float64"}.get(kind, kind), tuple(node.shape))


def _import_onnxruntime() -> Any:
    # From 1.29 on ONNX Runtime sends telemetry whose events can name tensors, unless this is set before its import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_framework("onnxruntime", "onnx")


def _providers(onnxruntime: Any, device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number or "0").isdigit():
        raise UsageError(f"there is no device {device!r}", "write cpu or cuda:N")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise FrameworkMissingError("this ONNX Runtime has no CUDA support", "install it: pip install onnxruntime-gpu")
    return [("CUDAExecutionProvider", {"device_id": int(number or "0")}), "CPUExecutionProvider"]


def _beside(entry: str, path: str) -> str:
    """Returns a file's path as the `.onnx` file names it: relative to its own directory."""
    return os.path.relpath(path, os.path.dirname(entry) or ".").replace(os.sep, "/")


def _add_external_data(onnxruntime: Any, options: Any, data: bytes, buffers: dict[str, memoryview]) -> bytes:
    """Hands external data to ONNX Runtime through the session's options, and returns the `.onnx` file to load."""
    external = ExternalData(data, buffers)
    names, values = external.large_initializers(onnxruntime, LARGE_INITIALIZER_BYTES)
    filled = {name: view for name, view in buffers.items() if view}
    # ONNX Runtime 1.23, the last one for Python 3.10, takes values alone: what is smaller goes into the file there.
    add_files = getattr(options, "add_external_initializers_from_files_in_memory", None)
    try:
        if add_files is not None:
            add_files(list(filled), list(filled.values()), [len(view) for view in filled.values()])
        if names:
            options.add_external_initializers(names, values)
    except RuntimeError as cause:
        if "already been added" not in str(cause):
            raise
        raise UsageError(
            "these session options were used for a model with external data already", "make new ones for each model"
        ) from cause
    return external.inline_all_but(names) if add_files is None else external.inline_nested()


def _single_onnx(model: Path, paths: list[str]) -> str:
    candidates = [path for path in paths if path.endswith(".onnx")]
    if not candidates:
        check_type(model, ModelType.MODEL_ONNX)
    if len(candidates) != 1:
        raise ModelSourceError(
            f"the directory {str(model)!r} holds {len(candidates)} .onnx files",
            "name the .onnx file instead: its external data is found from there",
        )
    return candidates[0]


def _check_all_there(external: list[str], entry: str, files: dict[str, Path]) -> None:
    folder = os.path.dirname(entry)
    for path in external:
        if os.path.normpath(os.path.join(folder, path)) not in files:
            raise ModelSourceError(f"the model's external data {path!r} is missing")
