"""PyTorch: state dicts and whole modules, as `torch.save` writes them."""

import contextlib
import importlib
import importlib.util
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptors.base import Cryptor
from cryptors.errors import ModelTypeError, UnsafePickleError
from cryptors.frameworks import first_line, import_framework
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.signature import Signature
from cryptors.torch_file import load_torch_file
from cryptors.torch_inference import check_device, module_signature, run_module, torch_device
from cryptors.torch_lazy import lazy_state_dict
from licensing.errors import UsageError

__all__ = ["TorchCryptor", "build_architecture"]


class TorchCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_TORCH`."""

    model_type = ModelType.MODEL_TORCH
    extra = "torch"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        torch = import_framework("torch", "torch")
        if not isinstance(loaded, torch.nn.Module):
            raise ModelTypeError(
                "a state dict cannot run by itself",
                "name the code that builds the module with --architecture FILE.py:NAME",
            )
        return run_module(loaded, inputs, device)

    def signature(self, loaded: Any) -> Signature:
        return module_signature(loaded)

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        check_device(device)
        return {"map_location": device, "weights_only": not allow_pickle, "architecture": architecture}

    def _computing_device(self, framework_options: dict[str, Any], loading: bool) -> str | None:
        return torch_device(framework_options.get("map_location"))

    def _decrypt(
        self,
        model: LockedModel,
        map_location: Any = "cpu",
        weights_only: bool = True,
        architecture: str | None = None,
        lazy: bool = False,
    ) -> Any:
        """Returns what `torch.load` returns; the storages are parts of one mapping, into which the file is decrypted.

        Args:
            model: the open locked model.
            map_location: as in `torch.load`.
            weights_only: False allows pickles that can run code, such as whole modules: only for a vendor whom the
                caller trusts like the author of a program.
            architecture: "FILE.py:NAME" or "package.module:NAME", a callable that returns the module into which
                the state dict is loaded.
            lazy: True returns a `LazyTensors`, which decrypts each tensor of a state dict when it is asked for.
        """
        torch = import_framework("torch", "torch")
        with _no_unsafe_pickle(weights_only):
            if lazy:
                if architecture is not None:
                    raise UsageError("a module needs all its tensors", "leave lazy or architecture out")
                return lazy_state_dict(torch, model, map_location, weights_only)
            loaded = load_torch_file(torch, model.file(), map_location, weights_only)
        return loaded if architecture is None else fill_architecture(architecture, loaded)

    def _decrypt_bytes(
        self,
        data: bytes,
        map_location: Any = "cpu",
        weights_only: bool = True,
        architecture: str | None = None,
    ) -> Any:
        torch = import_framework("torch", "torch")
        with _no_unsafe_pickle(weights_only):
            loaded = torch.load(io.BytesIO(data), map_location=map_location, weights_only=weights_only)
        return loaded if architecture is None else fill_architecture(architecture, loaded)


@contextlib.contextmanager
def _no_unsafe_pickle(weights_only: bool) -> Iterator[None]:
    """Says what to do where PyTorch refuses a pickle that is more than weights."""
    try:
        yield
    except pickle.UnpicklingError as cause:
        if not weights_only:
            raise
        raise UnsafePickleError(
            "the model is a pickle that is more than weights, and loading it could run code",
            "if you trust its vendor as you trust a program's author: weights_only=False, or --allow-pickle",
        ) from cause


def fill_architecture(architecture: str, state_dict: Any) -> Any:
    """Returns the module that the named code builds, with this state dict loaded into it, ready to infer.

    Raises:
        UsageError: the name leads to no such code, or the code fails.
    """
    module = build_architecture(architecture)
    module.load_state_dict(state_dict, strict=True, assign=True)
    return module.eval()


def build_architecture(architecture: str) -> Any:
    """Calls the code that "FILE.py:NAME" or "package.module:NAME" names, without arguments; errors as above."""
    place, _, name = architecture.rpartition(":")
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        return getattr(module, name)()
    except Exception as cause:  # It is the caller's own code, which can raise anything.
        raise UsageError(
            f"the architecture {architecture!r} cannot be built: {first_line(cause)}",
            "write FILE.py:NAME or package.module:NAME, of what can be called without arguments",
        ) from cause
