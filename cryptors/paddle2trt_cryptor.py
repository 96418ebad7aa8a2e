"""Paddle-TRT: a Paddle program whose parts TensorRT computes, on a GPU."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptors.errors import FrameworkUnsuitableError, ModelTypeError
from cryptors.file_formats import is_paddle_program
from cryptors.model_type import ModelType
from cryptors.paddle_cryptor import PARAMETERS_ENDING, PaddleCryptor, program_folder
from cryptors.paddle_inference import gpu_of, import_paddle, make_predictor, new_config
from cryptors.reader import LockedModel
from cryptors.source import ModelSource
from licensing.errors import UsageError

__all__ = ["Paddle2trtCryptor"]

_PRECISIONS = {"float32": "Float32", "half": "Half", "int8": "Int8", "bfloat16": "Bfloat16"}

Shapes = Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]]


class Paddle2trtCryptor(PaddleCryptor):
    """The cryptor for `ModelType.MODEL_PADDLE2TRT`.

    The model is the Paddle program itself: TensorRT's engines are built from it in the customer's memory, whenever it
    is loaded, for the GPU that is there.
    """

    model_type = ModelType.MODEL_PADDLE2TRT
    default_device = "cuda:0"

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        super(PaddleCryptor, self).run_options(device, architecture, allow_pickle)
        _gpu_with_tensorrt(import_paddle(), device)
        return {"device": device}

    def _decrypt(  # type: ignore[override]
        self,
        model: LockedModel,
        device: str = "cuda:0",
        precision: str = "float32",
        workspace_size: int = 1 << 30,
        max_batch_size: int = 1,
        min_subgraph_size: int = 3,
        dynamic_shapes: Shapes | None = None,
        configure: Callable[[Any], object] | None = None,
    ) -> Any:
        """Returns a `paddle.inference` predictor.

        Args:
            model: the open locked model.
            device: "cuda:N".
            precision: "float32", "half", "bfloat16", or "int8" for programs that were quantized.
            workspace_size, max_batch_size, min_subgraph_size: as in Paddle's `Config.enable_tensorrt_engine`.
            dynamic_shapes: the smallest, the largest and the best shape of each input whose shape varies.
            configure: as in `PaddleCryptor`.

        Raises:
            FrameworkUnsuitableError: this Paddle has no TensorRT.
            UsageError: there is no such device or precision.
        """
        paddle = import_paddle()
        gpu = _gpu_with_tensorrt(paddle, device)
        if precision not in _PRECISIONS:
            raise UsageError(f"there is no precision {precision!r}", f"there are {', '.join(_PRECISIONS)}")
        with program_folder(model) as program:
            config = new_config(paddle, program, program.with_suffix(PARAMETERS_ENDING), gpu)
            if configure is not None:
                configure(config)
            if dynamic_shapes:
                config.set_trt_dynamic_shape_info(
                    *({name: list(shapes[place]) for name, shapes in dynamic_shapes.items()} for place in range(3))
                )
            config.enable_tensorrt_engine(
                workspace_size=workspace_size,
                max_batch_size=max_batch_size,
                min_subgraph_size=min_subgraph_size,
                precision_mode=getattr(paddle.inference.PrecisionType, _PRECISIONS[precision]),
                use_static=False,  # True writes the engines to a disk, unencrypted.
                use_calib_mode=False,  # True writes a table for INT8 there.
            )
            return make_predictor(paddle, config)

    def _source(self, model: Path) -> ModelSource:
        """Returns the model's files; refuses what Paddle would load and run without TensorRT."""
        source = super()._source(model)
        program = model / source.index.entry if os.path.isdir(model) and source.index.entry else model
        if not is_paddle_program(program):
            raise ModelTypeError(
                f"Paddle-TRT takes programs in the format of Paddle 2 only, and {str(model)!r} is none",
                "save it with FLAGS_enable_pir_api=0, or encrypt it as 'paddle'",
            )
        return source


def _gpu_with_tensorrt(paddle: Any, device: str) -> int:
    """Returns the number of the GPU; what is missing is found before anything is decrypted."""
    if device == "cpu":
        raise UsageError("Paddle-TRT runs on GPUs, not on the CPU", "name one: --device cuda:0")
    if not any(paddle.inference.get_trt_compile_version()):
        raise FrameworkUnsuitableError(
            "this Paddle was built without TensorRT", "install a paddlepaddle-gpu that was built with TensorRT"
        )
    gpu = gpu_of(paddle, device)
    assert gpu is not None
    if not any(paddle.inference.get_trt_runtime_version()):
        raise FrameworkUnsuitableError(
            "this Paddle does not find TensorRT here",
            f"install TensorRT {'.'.join(map(str, paddle.inference.get_trt_compile_version()))}",
        )
    return gpu
