"""Paddle-TRT: lock a Paddle program, and have TensorRT compute it from memory, on the GPU that is there.

    python examples/paddle2trt_model.py

That takes a Paddle that was built with TensorRT, and an NVIDIA GPU. Elsewhere the program is locked as a Paddle model,
and shows the same steps.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy
import paddle

from cryptors import CryptorFactory, FrameworkMissingError, ModelType
from licensing import new_content_key


def make_model(prefix: Path) -> None:
    """Writes a program in Paddle 2's format (.pdmodel), the only one that Paddle-TRT takes, and its parameters."""
    with paddle.pir_utils.OldIrGuard():
        program, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(program, startup):
            x = paddle.static.data("x", [1, 4], "float32")
            y = paddle.nn.functional.relu(paddle.nn.Linear(4, 2)(x))
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        paddle.static.save_inference_model(str(prefix), [x], [y], executor, program=program)


def run(predictor: Any) -> Any:
    """Returns what a predictor gives for ones."""
    predictor.get_input_handle("x").copy_from_cpu(numpy.ones((1, 4), numpy.float32))
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def run_plaintext(prefix: Path) -> Any:
    config = paddle.inference.Config(f"{prefix}.pdmodel", f"{prefix}.pdiparams")
    config.disable_glog_info()
    return run(paddle.inference.create_predictor(config))


def main(folder: Path) -> None:
    make_model(folder / "network")

    content_key = new_content_key()
    cryptor, locked = CryptorFactory.instance(ModelType.MODEL_PADDLE2TRT), folder / "network.locked"
    cryptor.encrypt(model=folder / "network.pdmodel", crypt_key=content_key, crypted_model=locked)
    try:
        predictor = cryptor.load(locked, crypt_key=content_key, device="cuda:0", precision="half")
    except FrameworkMissingError as error:
        print(f"{error}: the program is locked as a Paddle model")
        cryptor, locked = CryptorFactory.instance(ModelType.MODEL_PADDLE), folder / "for_cpu.locked"
        cryptor.encrypt(model=folder / "network.pdmodel", crypt_key=content_key, crypted_model=locked)
        predictor = cryptor.load(locked, crypt_key=content_key)

    output = run(predictor)
    assert numpy.allclose(output, run_plaintext(folder / "network"), rtol=1e-2)  # TensorRT may compute with fewer bits.
    print("the locked model gives the same output:", output.tolist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
