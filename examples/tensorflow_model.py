"""TensorFlow: lock a SavedModel and a Keras file, and load both from memory.

python examples/tensorflow_model.py
"""

import os
import tempfile
from pathlib import Path

import numpy

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative.

import keras

from cryptors import CryptorFactory, ModelType
from licensing import new_content_key


def make_model() -> keras.Model:
    """Returns a model that multiplies by a matrix."""
    x = keras.Input((4,), name="x")
    layer = keras.layers.Dense(2, name="y", use_bias=False)
    model = keras.Model(x, layer(x))
    layer.set_weights([numpy.arange(8, dtype=numpy.float32).reshape(4, 2)])
    return model


def main(folder: Path) -> None:
    model, x = make_model(), numpy.ones((1, 4), numpy.float32)
    model.save(folder / "network.keras")
    model.export(folder / "network", verbose=False)  # A SavedModel: a directory.

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_TENSORFLOW)
    for name in ("network.keras", "network"):
        cryptor.encrypt(model=folder / name, crypt_key=content_key, crypted_model=folder / f"{name}.locked")

    # Of a Keras file comes a Keras model, of a SavedModel what `tf.saved_model.load` returns.
    loaded = cryptor.load(folder / "network.keras.locked", crypt_key=content_key)
    output = loaded(x).numpy()
    saved_model = cryptor.load(folder / "network.locked", crypt_key=content_key)
    assert output.tolist() == saved_model.serve(x).numpy().tolist() == model(x).numpy().tolist() == [[12.0, 16.0]]
    print("the locked model gives the same output:", output.tolist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
