"""MiniLM in Paddle, made of its own encoder layers. `architecture` names this file for state dicts."""

from typing import Any

from cryptors.paddle_inference import import_paddle
from tests.real_models import minilm
from tests.real_models.kind import kept

__all__ = ["ARCHITECTURE", "minilm_layer", "paddle_minilm"]

NAMES = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "kinds": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
}
ENCODER_NAMES = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}
"""The layers below, the parts of Paddle's encoder layers, and BERT's names for them."""

ARCHITECTURE = f"{__file__}:minilm_layer"


def minilm_layer() -> Any:
    """Returns the layer, without the trained weights."""
    paddle = import_paddle()
    nn = paddle.nn

    class MiniLM(nn.Layer):  # type: ignore[misc, name-defined]
        """Tokens and their mask to embeddings."""

        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(minilm.VOCABULARY, minilm.HIDDEN)
            self.positions = nn.Embedding(minilm.POSITIONS, minilm.HIDDEN)
            self.kinds = nn.Embedding(2, minilm.HIDDEN)
            self.norm = nn.LayerNorm(minilm.HIDDEN, minilm.EPSILON)
            self.layers = nn.LayerList([encoder_layer(nn) for _ in range(minilm.LAYERS)])

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            positions = paddle.arange(input_ids.shape[1])
            states = self.words(input_ids) + self.positions(positions) + self.kinds(paddle.zeros_like(input_ids))
            states, mask = self.norm(states), attention_mask.astype("float32")
            for layer in self.layers:
                states = layer(states, (mask[:, None, None, :] - 1) * 1e9)
            mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            return nn.functional.normalize(mean, axis=1)

    return MiniLM()


def encoder_layer(nn: Any) -> Any:
    """Returns a layer of BERT's kind."""
    return nn.TransformerEncoderLayer(
        minilm.HIDDEN, minilm.HEADS, minilm.WIDENED, dropout=0.0, activation="gelu", layer_norm_eps=minilm.EPSILON
    )


@kept
def paddle_minilm() -> Any:
    """Returns the layer with the trained weights, ready to infer."""
    names = dict(NAMES)
    for number in range(minilm.LAYERS):
        names |= {f"layers.{number}.{mine}": f"encoder.layer.{number}.{its}" for mine, its in ENCODER_NAMES.items()}
    layer, weights = minilm_layer(), minilm.weights()
    arrays = {}
    for name in layer.state_dict():
        mine, _, part = name.rpartition(".")
        array = weights[f"{names[mine]}.{part}"]
        # Paddle keeps the weights of linear layers as [inputs, outputs].
        arrays[name] = array.T if part == "weight" and mine.endswith(("proj", "linear1", "linear2")) else array
    assert layer.set_state_dict(arrays) == ([], [])
    layer.eval()
    return layer
