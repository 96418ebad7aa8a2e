"""LiteRT, formerly TensorFlow Lite: a `.tflite` flatbuffer."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cryptors.base import Cryptor
from cryptors.errors import ModelRejectedError
from cryptors.frameworks import import_framework
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.signature import Signature, TensorSpec, bind_inputs
from licensing.errors import UsageError

__all__ = ["LiteRtCryptor"]

DEFAULT_SIGNATURE = "serving_default"


class LiteRtCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_LITERT`."""

    model_type = ModelType.MODEL_LITERT
    extra = "litert"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        """Runs the signature "serving_default", or the only one; the graph itself where there is no such signature."""
        takes, gives = _takes(loaded), _gives(loaded)
        bound = bind_inputs(inputs, list(takes))
        for name, array in bound.items():
            _check_shape(name, array, takes[name])
        try:
            if runner := _runner(loaded):
                outputs: dict[str, Any] = runner(**bound)
                return outputs
            return _run_graph(loaded, {takes[name]["index"]: array for name, array in bound.items()}, gives)
        except (RuntimeError, ValueError) as cause:
            raise ModelRejectedError(f"LiteRT could not run the model: {_said(cause)}") from cause

    def signature(self, loaded: Any) -> Signature:
        return Signature(_specs(_takes(loaded)), _specs(_gives(loaded)))

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        _check_device(device)
        return super().run_options(device, architecture, allow_pickle)

    def _decrypt(self, model: LockedModel) -> bytes:
        """Returns the bytes of the `.tflite` file."""
        return model.file().read_all()

    def _load(self, model: LockedModel, device: str = "cpu", **interpreter_options: Any) -> Any:
        """Returns an `ai_edge_litert.interpreter.Interpreter` whose tensors are allocated.

        It holds on to the bytes of the file, and uses them where they are. Given a path instead, it would keep a
        descriptor open, which programs that it starts inherit.

        Args:
            model: the open locked model.
            device: "cpu"; delegates are for other devices.
            **interpreter_options: as in `Interpreter`: `num_threads`, `experimental_delegates` and others. With the
                `experimental_op_resolver_type` BUILTIN_WITHOUT_DEFAULT_DELEGATES, LiteRT needs half of the memory and
                more time: by default it keeps a second copy of the weights, packed for the processor.
        """
        _check_device(device)
        module = import_framework("ai_edge_litert.interpreter", "litert")
        return _interpreter(module, model.file().read_all(), interpreter_options)

    def _decrypt_bytes(self, data: bytes) -> bytes:
        return data

    def _load_bytes(self, data: bytes, device: str = "cpu", **interpreter_options: Any) -> Any:
        _check_device(device)
        return _interpreter(import_framework("ai_edge_litert.interpreter", "litert"), data, interpreter_options)


def _check_device(device: str) -> None:
    if device != "cpu":
        raise UsageError(
            f"LiteRT has no device {device!r}", "write cpu; in Python, load() takes delegates for other devices"
        )


def _interpreter(module: Any, data: bytes, options: dict[str, Any]) -> Any:
    try:
        interpreter = module.Interpreter(None, data, **options)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as cause:
        raise _rejected(cause) from cause
    return interpreter


def _rejected(cause: Exception) -> ModelRejectedError:
    if found := re.search(r"custom op: (\S+?)\.?\s|Node number \d+ \((Flex\w+)\)", str(cause)):
        return ModelRejectedError(
            f"LiteRT lacks the operator {found[1] or found[2]!r} that the model uses",
            "give load() a delegate that brings it, or convert the model to LiteRT's own operators",
        )
    return ModelRejectedError(f"LiteRT did not accept the model: {_said(cause)}")


def _said(cause: Exception) -> str:
    return " ".join(str(cause).split())[:300].rstrip(" .")


def _runner(interpreter: Any) -> Any:
    """Returns what runs the signature that `infer` means, or None."""
    names = list(interpreter.get_signature_list())
    if DEFAULT_SIGNATURE in names:
        return interpreter.get_signature_runner(DEFAULT_SIGNATURE)
    return interpreter.get_signature_runner(names[0]) if len(names) == 1 else None


def _takes(interpreter: Any) -> Mapping[str, Any]:
    """Returns what LiteRT says of each input, by name."""
    runner = _runner(interpreter)
    return runner.get_input_details() if runner else _named(interpreter.get_input_details())


def _gives(interpreter: Any) -> Mapping[str, Any]:
    """Returns what LiteRT says of each output, by name."""
    runner = _runner(interpreter)
    return runner.get_output_details() if runner else _named(interpreter.get_output_details())


def _named(tensors: Sequence[Any]) -> dict[str, Any]:
    """Returns tensors of a graph by their names, without what the converter puts around them unless it tells apart."""
    plain = [tensor["name"].removeprefix(f"{DEFAULT_SIGNATURE}_").removesuffix(":0") for tensor in tensors]
    if len(set(plain)) < len(plain) or "" in plain:
        plain = [f"{tensor['name']}#{tensor['index']}" for tensor in tensors]
    return dict(zip(plain, tensors, strict=True))


def _check_shape(name: str, array: Any, tensor: Any) -> None:
    """Refuses an array whose shape is not the input's; the first dimension, the batch, may always vary.

    LiteRT itself would take an array of another rank, and answer something.
    """
    wanted = tuple(int(size) for size in tensor["shape_signature"])
    fits = len(array.shape) == len(wanted) and all(
        number == 0 or size in (-1, found) for number, (size, found) in enumerate(zip(wanted, array.shape, strict=True))
    )
    if not fits:
        raise UsageError(f"the model's input {name!r} has the shape {wanted}, not {array.shape}")


def _run_graph(interpreter: Any, arrays: Mapping[int, Any], gives: Mapping[str, Any]) -> dict[str, Any]:
    for index, array in arrays.items():
        interpreter.resize_tensor_input(index, array.shape)
    interpreter.allocate_tensors()
    for index, array in arrays.items():
        interpreter.set_tensor(index, array)
    interpreter.invoke()
    return {name: interpreter.get_tensor(tensor["index"]) for name, tensor in gives.items()}


def _specs(tensors: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(name, tensor) for name, tensor in tensors.items())


def _spec(name: str, tensor: Any) -> TensorSpec:
    shape = tuple(None if size < 0 else int(size) for size in tensor["shape_signature"])
    kind = tensor["dtype"].__name__
    return TensorSpec(name, {"bytes_": "str", "bool_": "bool"}.get(kind, kind), shape)
