"""MiniLM in Keras, with the trained weights."""

from typing import Any

from tests.real_models import minilm
from tests.real_models.kind import kept

__all__ = ["keras_minilm"]


@kept
def keras_minilm() -> Any:
    """Returns the model."""
    import keras

    token_ids = keras.Input((None,), dtype="int64", name="input_ids")
    attended = keras.Input((None,), dtype="int64", name="attention_mask")
    positions = keras.ops.cumsum(keras.ops.ones_like(token_ids), axis=1) - 1
    words = embedding("word_embeddings", token_ids) + embedding("position_embeddings", positions)
    states = norm("embeddings.LayerNorm", words + embedding("token_type_embeddings", keras.ops.zeros_like(token_ids)))
    for number in range(minilm.LAYERS):
        states = encoder_layer(f"encoder.layer.{number}", states, attended)
    mask = keras.ops.cast(keras.ops.expand_dims(attended, -1), "float32")
    mean = keras.ops.sum(states * mask, 1) / keras.ops.sum(mask, 1)
    return keras.Model([token_ids, attended], keras.layers.UnitNormalization()(mean))


def encoder_layer(name: str, states: Any, attended: Any) -> Any:
    """Adds attention and feed-forward, each with its residual and normalisation."""
    import keras

    states = norm(f"{name}.attention.output.LayerNorm", attention(f"{name}.attention", states, attended) + states)
    widened = dense(f"{name}.intermediate.dense", keras.activations.gelu, states)
    return norm(f"{name}.output.LayerNorm", dense(f"{name}.output.dense", None, widened) + states)


def attention(name: str, states: Any, attended: Any) -> Any:
    """Adds attention with its output layer, whose weights Keras keeps as [hidden, heads, size of a head] and back."""
    import keras

    made = keras.layers.MultiHeadAttention(minilm.HEADS, minilm.HIDDEN // minilm.HEADS)
    outputs = made(states, states, attention_mask=keras.ops.expand_dims(attended, 1))
    inward = [weight(f"{name}.self.{part}") for part in ("query", "key", "value")]
    shapes = [variable.shape for variable in made.weights]
    flat = [array for pair in [*inward, weight(f"{name}.output.dense")] for array in pair]
    made.set_weights([array.reshape(shape) for array, shape in zip(flat, shapes, strict=True)])
    return outputs


def dense(name: str, activation: Any, x: Any) -> Any:
    """Adds a linear layer."""
    import keras

    kernel, bias = weight(name)
    return layer(keras.layers.Dense(len(bias), activation), x, kernel, bias)


def norm(name: str, x: Any) -> Any:
    """Adds a layer normalisation."""
    import keras

    scale, bias = (minilm.weights()[f"{name}.{part}"] for part in ("weight", "bias"))
    return layer(keras.layers.LayerNormalization(epsilon=minilm.EPSILON), x, scale, bias)


def embedding(name: str, x: Any) -> Any:
    """Adds a table."""
    import keras

    table = minilm.weights()[f"embeddings.{name}.weight"]
    return layer(keras.layers.Embedding(*table.shape), x, table)


def weight(name: str) -> tuple[Any, Any]:
    """Returns the kernel, [inputs, outputs], and bias of a linear layer."""
    return minilm.weights()[f"{name}.weight"].T, minilm.weights()[f"{name}.bias"]


def layer(made: Any, x: Any, *weights: Any) -> Any:
    """Adds a layer, with these weights."""
    outputs = made(x)
    made.set_weights(weights)
    return outputs
