"""A stand-in for a Paddle that was built with TensorRT, and for its GPU. It is neither: Paddle computes on the CPU.

What it shows is which of Paddle's settings are made before the predictor is, and that the rest is Paddle itself.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from cryptors.paddle_inference import import_paddle

__all__ = ["paddle_tensorrt", "recorded"]

recorded: list[dict[str, Any]] = []
"""What was set for each `Config` that was made: the names of its methods with their arguments."""


@contextlib.contextmanager
def paddle_tensorrt(
    compiled: tuple[int, ...] = (8, 6, 1), found: tuple[int, ...] = (8, 6, 1), gpus: int = 1
) -> Iterator[list[dict[str, Any]]]:
    """Makes Paddle say that it was built with TensorRT and CUDA, and take the settings for both without a word.

    Args:
        compiled: the version of TensorRT that Paddle was built with.
        found: the version that it finds.
        gpus: how many GPUs it finds.
    """
    paddle = import_paddle()
    real: Any = paddle.inference.Config

    class ConfigStandIn(real):  # type: ignore[misc]
        """Remembers what is set for the GPU, and sets the rest."""

        def __init__(self, *paths: str) -> None:
            super().__init__(*paths)
            self._settings: dict[str, Any] = {"paths": paths}
            recorded.append(self._settings)

        def enable_use_gpu(self, *arguments: Any) -> None:
            self._settings["enable_use_gpu"] = arguments

        def enable_tensorrt_engine(self, **arguments: Any) -> None:
            self._settings["enable_tensorrt_engine"] = arguments

        def set_trt_dynamic_shape_info(self, *arguments: Any) -> None:
            self._settings["set_trt_dynamic_shape_info"] = arguments

    with (
        mock.patch.object(paddle.inference, "Config", ConfigStandIn),
        mock.patch.object(paddle.inference, "get_trt_compile_version", return_value=compiled),
        mock.patch.object(paddle.inference, "get_trt_runtime_version", return_value=found),
        mock.patch.object(paddle, "is_compiled_with_cuda", return_value=True),
        mock.patch.object(paddle.device.cuda, "device_count", return_value=gpus),
    ):
        yield recorded
