"""Paddle's two ways to run a program, and running a model on named arrays, for `weightlock run`."""

import inspect
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptors.devices import gpu_index
from cryptors.errors import FrameworkMissingError, FrameworkUnsuitableError, ModelRejectedError, ModelTypeError
from cryptors.frameworks import first_line, import_framework
from cryptors.signature import Signature, TensorSpec, bind_inputs
from licensing.errors import UsageError

__all__ = [
    "OnDevice",
    "gpu_of",
    "import_paddle",
    "load_layer",
    "make_predictor",
    "model_signature",
    "new_config",
    "run_model",
]


def import_paddle() -> Any:
    """Returns the module `paddle`, whose import complains about a compiler's cache that inference does not need."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No ccache found")
        paddle = import_framework("paddle", "paddle")
        import_framework("paddle.inference", "paddle")
    return paddle


def gpu_of(paddle: Any, device: str) -> int | None:
    """Returns the number of the GPU that a device's name stands for, and None for the CPU.

    Raises:
        UsageError: there is no such device.
        FrameworkMissingError: this Paddle cannot use a GPU.
    """
    index = gpu_index(device)
    if index is None:
        return None
    if not paddle.is_compiled_with_cuda():
        raise FrameworkMissingError(
            "this Paddle was built without CUDA", "install paddlepaddle-gpu in its place, or use the device cpu"
        )
    count = paddle.device.cuda.device_count()
    if index >= count:
        raise UsageError(f"there is no device {device!r}", f"Paddle finds {count} GPUs here")
    return index


def new_config(paddle: Any, program: Path, parameters: Path, gpu: int | None) -> Any:
    """Returns a `paddle.inference.Config` that neither talks nor writes.

    Args:
        paddle: the module.
        program: the program file.
        parameters: the file with its parameters; it need not exist where there are none.
        gpu: the GPU to compute on; None for the CPU.
    """
    config = paddle.inference.Config(str(program), str(parameters))
    config.disable_glog_info()
    if gpu is not None:
        config.enable_use_gpu(100, gpu)  # MB of GPU memory to begin with, as in Paddle's own examples; it grows.
    return config


def make_predictor(paddle: Any, config: Any) -> Any:
    """Returns a predictor.

    Raises:
        ModelRejectedError: Paddle does not accept the program.
    """
    # Paddle would write what it made of the program beside it, or where the caller's settings say.
    config.enable_save_optim_model(False)
    try:
        return paddle.inference.create_predictor(config)
    except MemoryError:
        raise
    except Exception as cause:
        raise ModelRejectedError(f"Paddle does not accept the program: {_summary(cause)}") from cause


def load_layer(paddle: Any, prefix: Path, gpu: int | None) -> Any:
    """Returns the layer that `paddle.jit.load` makes of a program.

    Args:
        paddle: the module.
        prefix: the paths of program and parameters without their endings; nothing else begins like this.
        gpu: the GPU to put it on; None for the CPU.

    Raises:
        FrameworkUnsuitableError: `paddle.jit` takes programs in the other format only.
        ModelRejectedError: Paddle does not accept the program.
    """
    ending = ".json" if paddle.framework.use_pir_api() else ".pdmodel"
    if not prefix.with_suffix(ending).exists():
        raise FrameworkUnsuitableError(
            f"paddle.jit takes {ending} programs only, as it is set up here",
            "use api='inference', which takes both kinds, or set FLAGS_enable_pir_api before Paddle is imported",
        )
    try:
        with OnDevice(paddle, gpu):
            return paddle.jit.load(str(prefix))
    except MemoryError:
        raise
    except Exception as cause:
        raise ModelRejectedError(f"Paddle does not accept the program: {_summary(cause)}") from cause


class OnDevice:
    """Where tensors that Paddle makes go, for as long as the context lasts; a Paddle without CUDA has no choice.

    Args:
        paddle: the module.
        gpu: the number of a GPU; None for the CPU.
    """

    def __init__(self, paddle: Any, gpu: int | None) -> None:
        self._device = paddle.device if paddle.is_compiled_with_cuda() else None
        self._name = "cpu" if gpu is None else f"gpu:{gpu}"

    def __enter__(self) -> None:
        if self._device is not None:
            self._before = self._device.get_device()
            self._device.set_device(self._name)

    def __exit__(self, *error: object) -> None:
        if self._device is not None:
            self._device.set_device(self._before)


def model_signature(loaded: Any) -> Signature:
    """Returns the inputs and outputs of a predictor or layer; predictors tell their names and no more.

    Raises:
        ModelTypeError: it is a state dict.
    """
    if hasattr(loaded, "get_input_names"):
        names = (loaded.get_input_names(), loaded.get_output_names())
        return Signature(*(tuple(map(TensorSpec, each)) for each in names))
    if hasattr(loaded, "_input_spec"):
        inputs, outputs = loaded._input_spec(), loaded._output_spec()
        return Signature(tuple(map(_spec, inputs)), tuple(map(_spec, outputs)))
    return Signature(tuple(map(TensorSpec, _layer_inputs(loaded))), ())


def run_model(loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
    """Runs a predictor or a layer.

    Args:
        loaded: what the cryptor's `load` returned.
        inputs: NumPy arrays by name.
        device: as in `load`.

    Returns:
        NumPy arrays: of a predictor by the names of its outputs; of a layer "output" for a tensor, "output_0",
        "output_1", … for a sequence.

    Raises:
        UsageError: the inputs are not those that the model wants.
        ModelTypeError: it is a state dict.
        ModelRejectedError: Paddle failed.
    """
    numpy = import_framework("numpy", "paddle")
    run = _run_predictor if hasattr(loaded, "get_input_names") else _run_layer
    names = loaded.get_input_names() if run is _run_predictor else _layer_inputs(loaded)
    named = {name: numpy.asarray(array) for name, array in bind_inputs(inputs, names).items()}
    try:
        return run(loaded, names, named, device)
    except Exception as cause:
        raise ModelRejectedError(f"Paddle could not run the model: {_summary(cause)}") from cause


def _run_predictor(predictor: Any, names: Sequence[str], inputs: dict[str, Any], device: str) -> dict[str, Any]:
    for name in names:
        predictor.get_input_handle(name).copy_from_cpu(inputs[name])
    predictor.run()
    return {name: predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()}


def _run_layer(layer: Any, names: Sequence[str], inputs: dict[str, Any], device: str) -> dict[str, Any]:
    paddle = import_paddle()
    with OnDevice(paddle, gpu_of(paddle, device)), paddle.no_grad():
        outputs = layer(*(paddle.to_tensor(inputs[name]) for name in names))
    if isinstance(outputs, paddle.Tensor):
        return {"output": outputs.numpy()}
    return {f"output_{number}": output.numpy() for number, output in enumerate(outputs)}


def _layer_inputs(layer: Any) -> list[str]:
    if not callable(getattr(layer, "forward", None)):
        raise ModelTypeError(
            "a state dict cannot run by itself",
            "name the code that builds the layer with --architecture FILE.py:NAME",
        )
    if hasattr(layer, "_input_spec"):
        return [spec.name for spec in layer._input_spec()]
    return list(inspect.signature(layer.forward).parameters)


def _spec(spec: Any) -> TensorSpec:
    shape = tuple(None if size < 0 else int(size) for size in spec.shape)
    return TensorSpec(spec.name, str(spec.dtype).removeprefix("paddle."), shape)


def _summary(cause: Exception) -> str:
    """Returns the line of Paddle's error that says what is wrong; others may quote the code that made the program."""
    found = re.search(r"^\s*(?:\(\w+\)|\w+Error:)\s*(\S.{,199})", str(cause), re.MULTILINE)
    return found[1].rstrip() if found else first_line(cause)
