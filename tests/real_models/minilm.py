"""The trained all-MiniLM-L6-v2 in PyTorch, with the names of its `model.safetensors`.

The architecture is BERT's (https://arxiv.org/abs/1810.04805), and then the mean over tokens, normalised, as the model's
card says.
"""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from tests.real_models.kind import Arrays, RealModel, kept
from tools.demo_model import find_minilm, tokenize

__all__ = [
    "EPSILON",
    "HEADS",
    "HIDDEN",
    "LAYERS",
    "MINILM",
    "POSITIONS",
    "SENTENCES",
    "VOCABULARY",
    "WIDENED",
    "MiniLM",
    "weights",
]

LAYERS, HIDDEN, HEADS, WIDENED, VOCABULARY, POSITIONS = 6, 384, 12, 1536, 30522, 512
EPSILON = 1e-12

SENTENCES = (
    "A man is playing a guitar.",
    "Someone plays music on a string instrument.",
    "The stock market fell today.",
)
"""They differ in length, so that some tokens are padding."""


def output(inputs: int) -> Any:
    """Returns a linear layer, and the normalisation of its sum with the residual."""
    return nn.ModuleDict({"dense": nn.Linear(inputs, HIDDEN), "LayerNorm": nn.LayerNorm(HIDDEN, EPSILON)})


def added(output: Any, inner: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Applies both."""
    return output["LayerNorm"](output["dense"](inner) + states)


class Layer(nn.Module):  # type: ignore[misc]
    """One transformer layer: attention and feed-forward, each with its residual and normalisation."""

    def __init__(self) -> None:
        super().__init__()
        parts = nn.ModuleDict({part: nn.Linear(HIDDEN, HIDDEN) for part in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": parts, "output": output(HIDDEN)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(HIDDEN, WIDENED)})
        self.output = output(WIDENED)

    def forward(self, states: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            self.attention["self"][part](states).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attended).transpose(1, 2).flatten(2)
        states = added(self.attention["output"], mixed, states)
        return added(self.output, functional.gelu(self.intermediate["dense"](states)), states)


class MiniLM(nn.Module):  # type: ignore[misc]
    """Tokens and their mask, int64 [batch, tokens], to embeddings [batch, 384] of length 1."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"word": VOCABULARY, "position": POSITIONS, "token_type": 2}
        self.embeddings = nn.ModuleDict({f"{name}_embeddings": nn.Embedding(n, HIDDEN) for name, n in sizes.items()})
        self.embeddings["LayerNorm"] = nn.LayerNorm(HIDDEN, EPSILON)
        self.embeddings.register_buffer("position_ids", torch.arange(POSITIONS)[None])
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(LAYERS))})
        # The file has it, and sentence embeddings do not use it.
        self.pooler = nn.ModuleDict({"dense": nn.Linear(HIDDEN, HIDDEN)})

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        tables = self.embeddings
        positions = tables["position_embeddings"](tables.position_ids[:, : input_ids.shape[1]])
        kinds = tables["token_type_embeddings"](torch.zeros_like(input_ids))
        states = tables["LayerNorm"](tables["word_embeddings"](input_ids) + positions + kinds)
        for layer in self.encoder["layer"]:
            states = layer(states, attention_mask[:, None, None, :].bool())
        mask = attention_mask[:, :, None].to(states.dtype)
        return functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)


@kept
def module() -> Any:
    """Returns the module with the trained weights, ready to infer."""
    with torch.device("meta"):  # Weights that are replaced at once need not be made.
        network = MiniLM().eval()
    network.load_state_dict(load_file(find_minilm() / "model.safetensors"), assign=True)
    return network


def weights() -> Arrays:
    """Returns the weights by their names in the file, as NumPy arrays."""
    return {name: tensor.numpy() for name, tensor in module().state_dict().items()}


def tokens() -> Arrays:
    """Returns `input_ids` and `attention_mask` of the sentences, int64 [3, 10]."""
    return tokenize(find_minilm(), SENTENCES)


MINILM = RealModel("minilm", f"{__file__}:MiniLM", module, tokens)
