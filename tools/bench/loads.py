"""Plaintext models, loaded as their frameworks' users do; and reading every page of what was loaded.

A load that only maps a file has read nothing yet: `touch` finds out what it costs to have the tensors.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptors.frameworks import import_framework

__all__ = ["LAZY", "MODULES", "PLAIN", "touch"]

PAGE_BYTES = 4096

MODULES = {
    "torch": ("torch",),
    "safetensors": ("safetensors", "torch"),
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "tensorflow": ("tensorflow",),
    "paddle": ("paddle",),
    "torchscript": ("torch",),
    "torch_export": ("torch",),
    "litert": ("ai_edge_litert",),
    "gguf": ("llama_cpp",),
    "huggingface": ("transformers", "torch", "safetensors"),
}
"""The types that can be measured, with the modules that loading them takes."""

Call = Callable[[], Any]


def _torch(path: Path) -> Call:
    torch = import_framework("torch", "torch")
    return lambda: torch.load(path, map_location="cpu", weights_only=True)


def _torchscript(path: Path) -> Call:
    torch = import_framework("torch", "torch")
    return lambda: torch.jit.load(path, map_location="cpu")


def _torch_export(path: Path) -> Call:
    torch = import_framework("torch", "torch")
    return lambda: torch.export.load(path)


def _safetensors(path: Path) -> Call:
    load_file = import_framework("safetensors.torch", "safetensors").load_file
    shards = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    return lambda: {name: tensor for shard in shards for name, tensor in load_file(shard).items()}


def _onnx(path: Path) -> Call:
    runtime = import_framework("onnxruntime", "onnx")
    (entry,) = path.rglob("*.onnx") if path.is_dir() else [path]
    return lambda: runtime.InferenceSession(entry, providers=["CPUExecutionProvider"])


def _openvino(path: Path) -> Call:
    openvino = import_framework("openvino", "openvino")
    (entry,) = path.rglob("*.xml") if path.is_dir() else [path]
    return lambda: openvino.Core().compile_model(entry, "CPU")


def _tensorflow(path: Path) -> Call:
    if path.is_dir():
        load = import_framework("tensorflow", "tensorflow").saved_model.load
    else:
        load = import_framework("keras", "tensorflow").saving.load_model
    return lambda: load(str(path))


def _paddle(path: Path) -> Call:
    paddle = import_framework("paddle", "paddle")
    if path.suffix == ".pdparams":
        return lambda: paddle.load(str(path))
    inference = import_framework("paddle.inference", "paddle")
    parameters = path.with_suffix(".pdiparams")
    return lambda: inference.create_predictor(inference.Config(str(path), str(parameters)))


def _litert(path: Path) -> Call:
    module = import_framework("ai_edge_litert.interpreter", "litert")

    def load() -> Any:
        interpreter = module.Interpreter(str(path))
        interpreter.allocate_tensors()
        return interpreter

    return load


def _gguf(path: Path) -> Call:
    llama = import_framework("llama_cpp", "gguf").Llama
    return lambda: llama(model_path=str(path), verbose=False)


def _huggingface(path: Path) -> Call:
    transformers = import_framework("transformers", "huggingface")
    names = transformers.AutoConfig.from_pretrained(path).architectures or ["AutoModel"]
    kind = getattr(transformers, names[0], transformers.AutoModel)
    return lambda: kind.from_pretrained(path, dtype="auto").eval()


PLAIN: dict[str, Callable[[Path], Call]] = {
    "torch": _torch,
    "safetensors": _safetensors,
    "onnx": _onnx,
    "openvino": _openvino,
    "tensorflow": _tensorflow,
    "paddle": _paddle,
    "torchscript": _torchscript,
    "torch_export": _torch_export,
    "litert": _litert,
    "gguf": _gguf,
    "huggingface": _huggingface,
}
"""For each type, what imports its framework and returns the call that loads a plaintext model."""


def _torch_lazily(path: Path, name: str) -> Call:
    torch = import_framework("torch", "torch")
    return lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=True)[name]


def _safetensors_lazily(path: Path, name: str) -> Call:
    safe_open = import_framework("safetensors", "safetensors").safe_open

    def load() -> Any:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(name)

    import_framework("torch", "torch")
    return load


LAZY: dict[str, Callable[[Path, str], Call]] = {"torch": _torch_lazily, "safetensors": _safetensors_lazily}
"""For types from which one tensor can be taken, what returns the call that does it."""


def touch(loaded: Any) -> None:
    """Reads one byte of every page of every PyTorch tensor: of one, or of those in a state dict."""
    for tensor in loaded.values() if isinstance(loaded, Mapping) else [loaded]:
        if hasattr(tensor, "untyped_storage") and tensor.numel():
            torch = import_framework("torch", "torch")
            int(tensor.detach().reshape(-1).view(torch.uint8)[::PAGE_BYTES].sum())
