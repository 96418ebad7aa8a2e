"""TF-TRT: convert a model with TensorRT, lock it with its engines, and load it from memory.

    python examples/tf2trt_model.py

That takes TensorFlow 2.17 or older, built for CUDA with TensorRT, and an NVIDIA GPU. Elsewhere the model stays as it
is, is locked as a TensorFlow model, and shows the same steps.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative.

import tensorflow

from cryptors import CryptorFactory, ModelType
from licensing import new_content_key


def save_model(folder: Path) -> Path:
    """Writes a SavedModel that multiplies by a matrix."""
    network = tensorflow.Module()
    network.weight = tensorflow.Variable(numpy.arange(8, dtype=numpy.float32).reshape(4, 2))

    def multiply(x: Any) -> dict[str, Any]:
        return {"y": tensorflow.matmul(x, network.weight)}

    network.multiply = tensorflow.function(multiply, [tensorflow.TensorSpec([None, 4], name="x")])
    tensorflow.saved_model.save(network, str(folder / "network"), {"serving_default": network.multiply})
    return folder / "network"


def convert(model: Path, folder: Path) -> Path:
    """Writes the model with engines for this machine's GPU."""
    from tensorflow.python.compiler.tensorrt import trt_convert

    converter = trt_convert.TrtGraphConverterV2(str(model), minimum_segment_size=1)
    converter.convert()
    converter.build(lambda: [(tensorflow.ones((1, 4)),)])
    converter.save(str(folder / "converted"))
    return folder / "converted"


def main(folder: Path) -> None:
    model, x = save_model(folder), tensorflow.ones((1, 4))
    expected = tensorflow.saved_model.load(str(model)).signatures["serving_default"](x=x)["y"].numpy()
    model_type = ModelType.MODEL_TENSORFLOW
    if tensorflow.sysconfig.get_build_info()["is_tensorrt_build"] and tensorflow.config.list_physical_devices("GPU"):
        model, model_type = convert(model, folder), ModelType.MODEL_TF2TRT
    else:
        print("there is no TensorRT in this TensorFlow, or no GPU: the model is locked as it is")

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(model_type)
    cryptor.encrypt(model=model, crypt_key=content_key, crypted_model=folder / "network.locked")

    # `load` returns what `tf.saved_model.load` returns; nothing of it was on a disk in plaintext.
    loaded = cryptor.load(folder / "network.locked", crypt_key=content_key)
    output = loaded.signatures["serving_default"](x=x)["y"].numpy()
    assert numpy.allclose(output, expected, rtol=1e-2)  # Engines may compute with fewer bits.
    print("the locked model gives the same output:", output.tolist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
