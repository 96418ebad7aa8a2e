"""ResNet-18 and MiniLM in Paddle, with their weights: those of linear layers are [inputs, outputs] there."""

from typing import Any

from tests.real_models import minilm, resnet18
from tests.real_models.kind import kept

__all__ = ["paddle_minilm", "paddle_resnet18"]

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
"""The parts of Paddle's encoder layer, and BERT's names for them."""


@kept
def paddle_resnet18() -> Any:
    """Returns Paddle's own ResNet-18, which has PyTorch's names but for the statistics."""
    import paddle

    model = paddle.vision.models.resnet18()
    model.eval()
    arrays = {
        name.replace("running_mean", "_mean").replace("running_var", "_variance"): array
        for name, array in resnet18.weights().items()
    }
    fill(model, {**arrays, "fc.weight": arrays["fc.weight"].T})
    return model


@kept
def paddle_minilm() -> Any:
    """Returns BERT, made of Paddle's encoder layers."""
    import paddle
    from paddle import nn

    class MiniLM(nn.Layer):  # type: ignore[misc]
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

    model = MiniLM()
    model.eval()
    names = {"words": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings"}
    names |= {"kinds": "embeddings.token_type_embeddings", "norm": "embeddings.LayerNorm"}
    for number in range(minilm.LAYERS):
        names |= {f"layers.{number}.{mine}": f"encoder.layer.{number}.{its}" for mine, its in ENCODER_NAMES.items()}
    weights = minilm.weights()
    arrays = {
        f"{mine}.{part}": weights.get(f"{its}.{part}") for mine, its in names.items() for part in ("weight", "bias")
    }
    linear = ("proj.weight", "linear1.weight", "linear2.weight")
    fill(
        model,
        {name: array.T if name.endswith(linear) else array for name, array in arrays.items() if array is not None},
    )
    return model


def encoder_layer(nn: Any) -> Any:
    """Returns a layer of BERT's kind."""
    return nn.TransformerEncoderLayer(
        minilm.HIDDEN, minilm.HEADS, minilm.WIDENED, dropout=0.0, activation="gelu", layer_norm_eps=minilm.EPSILON
    )


def fill(model: Any, arrays: dict[str, Any]) -> None:
    """Puts weights into a model, all of them."""
    assert model.set_state_dict(arrays) == ([], [])
