"""ONNX: one file, or a model with external data, also above 2 GB."""

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Any, NoReturn

from cryptors.base import Cryptor
from cryptors.detect import check_type
from cryptors.errors import ModelRejectedError, ModelSourceError, ModelTypeError
from cryptors.frameworks import import_framework
from cryptors.memory import PlaintextMemory
from cryptors.model_type import ModelType
from cryptors.onnx_providers import device_of, providers_for
from cryptors.reader import LockedModel
from cryptors.signature import Signature, TensorSpec, bind_inputs
from cryptors.source import ModelSource, scan_source
from licensing.errors import UsageError

__all__ = ["OnnxCryptor"]

PROTOBUF_LIMIT = 2**31 - 1
"""The largest protobuf message, and so the largest ONNX file without external data, in bytes."""

LARGE_MODEL_BYTES = 16 * 2**20
"""From this size on, a model in one file is taken apart for ONNX Runtime; smaller ones are not worth it."""

LARGE_VALUES_BYTES = 64 * 2**10
"""From this size on, an initializer's values go to ONNX Runtime by themselves when a model is taken apart. Those of
shapes are never so large: ONNX Runtime needs them while it reads the model."""


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
        others = {_beside(model, file.path): file.path for file in model.index.files if file.path != model.file().path}
        if not others:
            return data
        if model.index.content_bytes > PROTOBUF_LIMIT:
            raise ModelTypeError(
                "the model is larger than 2 GB, which one ONNX file cannot hold",
                "use load(), which gives an InferenceSession",
                reason="model_too_large",
            )
        # Deferred, like the other imports in this class: small models load without it, and start faster.
        from cryptors.onnx_external_data import with_values_inside

        return with_values_inside(data, {name: model.file(path) for name, path in others.items()})

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
                its memory, which is gone when the session is made. A model in one file goes to ONNX Runtime as it is
                when there are options, which takes more memory, and the options can serve other models.
        """
        onnxruntime = _import_onnxruntime()
        providers = providers or providers_for(onnxruntime, device)
        is_large, is_one_file = model.index.content_bytes >= LARGE_MODEL_BYTES, len(model.index.files) == 1
        if is_one_file and (not is_large or sess_options is not None):
            session = _session(onnxruntime, model.file().read_all(), sess_options, providers)
        else:
            session = _session_from_parts(onnxruntime, model, sess_options or onnxruntime.SessionOptions(), providers)
        if is_large:
            _return_freed_memory()
        return session

    def _decrypt_bytes(self, data: bytes) -> bytes:
        return data

    def _load_bytes(
        self, data: bytes, device: str = "cpu", providers: list[Any] | None = None, sess_options: Any = None
    ) -> Any:
        onnxruntime = _import_onnxruntime()
        return _session(onnxruntime, data, sess_options, providers or providers_for(onnxruntime, device))

    def _computing_device(self, framework_options: dict[str, Any], loading: bool) -> str | None:
        providers = framework_options.get("providers")
        return device_of(providers) if providers else super()._computing_device(framework_options, loading)

    def _source(self, model: Path) -> ModelSource:
        """Returns the model's files: the `.onnx` file, and the external data that it names, wherever it was started."""
        from cryptors.onnx_external_data import external_paths

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


def _session(onnxruntime: Any, data: bytes, options: Any, providers: list[Any]) -> Any:
    """Returns a session that holds no plaintext but what ONNX Runtime made of it.

    ONNX Runtime keeps the bytes of a model to make the session again with other providers. Nothing of a locked model
    is left for that when the session is made.
    """
    session = onnxruntime.InferenceSession(data, options, providers=providers)
    session.disable_fallback()
    session.set_providers = _refuse_providers
    if hasattr(session, "_model_bytes"):
        session._model_bytes = None
    return session


def _session_from_parts(onnxruntime: Any, model: LockedModel, options: Any, providers: list[Any]) -> Any:
    """Returns a session for which large values were handed over beside the rest of the model."""
    from cryptors.onnx_values import hand_over_values

    with contextlib.ExitStack() as stack:
        files = {}
        for file in model.index.files:
            memory = stack.enter_context(PlaintextMemory(file.size))
            model.file(file.path).read_all_into(memory.view)
            files[_beside(model, file.path)] = memory.view
        try:
            data = hand_over_values(onnxruntime, options, files, LARGE_VALUES_BYTES, stack)
        except ValueError:
            if len(files) > 1:
                raise
            data = bytes(files[""])  # ONNX Runtime says what is wrong with it.
        # ONNX Runtime copies what it takes from these memories, and documents that they can be freed when the
        # session is made (AddExternalInitializers, AddExternalInitializersFromFilesInMemory).
        return _session(onnxruntime, data, options, providers)


def _return_freed_memory() -> None:
    """Lets glibc give back what ONNX Runtime has freed: as much as a model again, and plaintext."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _refuse_providers(*providers: Any, **options: Any) -> NoReturn:
    raise UsageError("the session of a locked model cannot change its providers", "give load() the providers")


def _beside(model: LockedModel, path: str) -> str:
    """Returns a file's path as the `.onnx` file names it, relative to its own directory; "" for the `.onnx` file."""
    entry = model.file().path
    if path == entry:
        return ""
    return os.path.relpath(path, os.path.dirname(entry) or ".").replace(os.sep, "/")


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
