"""ResNet-18 in Keras, with PyTorch's weights; images are [batch, height, width, 3] there."""

from typing import Any

from tests.real_models import resnet18
from tests.real_models.kind import kept

__all__ = ["keras_resnet18"]

EPSILON = 1e-5
"""Of the normalisations, as PyTorch has it; Keras adds 0.001 unless told."""


@kept
def keras_resnet18() -> Any:
    """Returns the model."""
    import keras

    inputs = keras.Input((resnet18.IMAGE_SIZE, resnet18.IMAGE_SIZE, 3), name="x")
    x = relu(norm("bn1", convolution("conv1", inputs, 64, 7, 2)))
    x = keras.layers.MaxPooling2D(3, 2)(keras.layers.ZeroPadding2D(1)(x))
    for number, (_, channels, stride) in enumerate(resnet18.STAGES, start=1):
        x = block(f"layer{number}.0", x, channels, stride)
        x = block(f"layer{number}.1", x, channels, 1)
    x = keras.layers.GlobalAveragePooling2D()(x)
    weights = resnet18.weights()
    outputs = layer(keras.layers.Dense(resnet18.CLASSES), x, weights["fc.weight"].T, weights["fc.bias"])
    return keras.Model(inputs, outputs)


def block(name: str, x: Any, channels: int, stride: int) -> Any:
    """Adds two convolutions and a way around them."""
    import keras

    inner = relu(norm(f"{name}.bn1", convolution(f"{name}.conv1", x, channels, 3, stride)))
    inner = norm(f"{name}.bn2", convolution(f"{name}.conv2", inner, channels, 3, 1))
    if stride != 1:
        x = norm(f"{name}.downsample.1", convolution(f"{name}.downsample.0", x, channels, 1, stride))
    # The operator "+" would do as well, but not for `.h5` files: Keras cannot read back the layer that it makes of it.
    return relu(keras.layers.Add()([inner, x]))


def convolution(name: str, x: Any, channels: int, size: int, stride: int) -> Any:
    """Adds a convolution. Padding is a layer of its own: "same" would put more of it at the end than at the start."""
    import keras

    if size > 1:
        x = keras.layers.ZeroPadding2D(size // 2)(x)
    kernel = resnet18.weights()[f"{name}.weight"].transpose(2, 3, 1, 0)
    return layer(keras.layers.Conv2D(channels, size, stride, use_bias=False), x, kernel)


def norm(name: str, x: Any) -> Any:
    """Adds a batch normalisation."""
    import keras

    parts = ("weight", "bias", "running_mean", "running_var")
    return layer(
        keras.layers.BatchNormalization(epsilon=EPSILON), x, *(resnet18.weights()[f"{name}.{part}"] for part in parts)
    )


def relu(x: Any) -> Any:
    """Adds a ReLU."""
    import keras

    return keras.layers.ReLU()(x)


def layer(made: Any, x: Any, *weights: Any) -> Any:
    """Adds a layer, with these weights."""
    outputs = made(x)
    made.set_weights(weights)
    return outputs
