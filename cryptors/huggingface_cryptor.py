"""Hugging Face: a model directory with configuration, tokenizer and weights, as `save_pretrained` writes it."""

import contextlib
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptors.base import Cryptor
from cryptors.detect import MAX_CONFIG_BYTES
from cryptors.errors import ModelRejectedError, ModelSourceError, ModelTypeError, UnsafePickleError
from cryptors.frameworks import first_line, import_framework
from cryptors.huggingface_files import INDEX_ENDINGS, find_weights, needed_files, parse_config, read_config
from cryptors.memory_folder import PlaintextFolder
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.signature import Signature, TensorSpec, bind_inputs
from cryptors.source import ModelSource
from cryptors.torch_inference import check_device, torch_device
from cryptors.weight_shards import check_shards
from licensing.errors import UsageError
from licensing.files import read_bounded

__all__ = ["HuggingFaceCryptor"]

_COMPANIONS = ("AutoTokenizer", "AutoProcessor", "AutoFeatureExtractor", "AutoImageProcessor", "AutoVideoProcessor")


class HuggingFaceCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_HUGGINGFACE`."""

    model_type = ModelType.MODEL_HUGGINGFACE
    extra = "huggingface"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        torch = import_framework("torch", self.extra)
        bound = bind_inputs(inputs, _input_names(loaded), optional=_input_names(loaded))
        try:
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(array).to(device) for name, array in bound.items()}
                return dict(_arrays(torch, loaded(**tensors, return_dict=True)))
        except Exception as cause:
            raise ModelRejectedError(f"transformers could not run the model: {first_line(cause)}") from cause

    def signature(self, loaded: Any) -> Signature:
        return Signature(tuple(TensorSpec(name) for name in _input_names(loaded)), ())

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        check_device(device)
        return super().run_options(device, architecture, allow_pickle)

    def _computing_device(self, framework_options: dict[str, Any], loading: bool) -> str | None:
        return torch_device(framework_options.get("device"))

    def _decrypt(
        self,
        model: LockedModel,
        auto_class: str | None = None,
        tokenizer: bool | str = False,
        device: str = "cpu",
        dtype: Any = "auto",
        attn_implementation: str | None = None,
        trust_remote_code: bool = False,
    ) -> Any:
        """Returns the model, ready to infer; its weights stay where they were decrypted to, without another copy.

        Args:
            model: the open locked model.
            auto_class: the class of `transformers` that loads it, such as "AutoModelForCausalLM"; by default the one
                that the configuration names, and where `transformers` lacks that one, "AutoModel".
            tokenizer: whether to return a pair of the model and its tokenizer, or its processor where it has one; or
                the class that loads the second of the pair, such as "AutoFeatureExtractor".
            device: "cpu" or "cuda:N".
            dtype: as in `from_pretrained`; by default, that in which the weights were saved.
            attn_implementation: as in `from_pretrained`; not one that would come from a hub.
            trust_remote_code: refused. `transformers` copies the model's code to its cache on disk, and runs it.

        Raises:
            ModelRejectedError: tensors are missing, which `transformers` would make up; or it needs code of its own.
        """
        _check_options(trust_remote_code, attn_implementation, tokenizer)
        check_device(device)
        for module in ("torch", "safetensors"):
            import_framework(module, self.extra)
        transformers = import_framework("transformers", self.extra)
        config = read_config(model)
        model_class = _model_class(transformers, auto_class, config)
        options = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
        files = {path: path for path in needed_files(model, config)}
        with PlaintextFolder(model, files) as folder, _quiet(transformers):
            loaded, report = _from_pretrained(
                model_class, folder.path, config, dtype=dtype, output_loading_info=True, **options
            )
            companion = _load_companion(transformers, tokenizer, folder.path, config) if tokenizer else None
        if auto_class is None and (missing := sorted(report["missing_keys"])):
            raise ModelRejectedError(
                f"the model lacks the tensor {missing[0][:200]!r}, and transformers would make it up",
                f"to load it all the same, name its class: auto_class={model_class.__name__!r}",
            )
        _rename(loaded, model.header.name)
        if str(loaded.device) != device:
            loaded.to(device)
        if companion is None:
            return loaded
        if hasattr(companion, "name_or_path"):
            companion.name_or_path = model.header.name
        return loaded, companion

    def _decrypt_bytes(self, data: bytes, **options: Any) -> Any:
        raise ModelTypeError("a file of the old toolkit is no Hugging Face model, which is a directory")

    def _source(self, model: Path) -> ModelSource:
        """Returns the model's files; refuses a directory without weights, or without a shard which its index names."""
        source = super()._source(model)
        check_shards(model, source, INDEX_ENDINGS)
        paths = [file.path for file in source.index.files]
        config = parse_config(read_bounded(model / "config.json", "configuration", MAX_CONFIG_BYTES))
        if find_weights(config, paths) is None and not any(path.startswith("adapter_model.") for path in paths):
            raise ModelSourceError(
                f"the directory {str(model)!r} holds no weights under a name that transformers looks for",
                "save the model with save_pretrained, which writes model.safetensors",
            )
        return source


def _check_options(trust_remote_code: bool, attn_implementation: str | None, tokenizer: bool | str) -> None:
    if trust_remote_code:
        raise UsageError(
            "trust_remote_code is not possible with a locked model",
            "transformers copies the model's code to its cache on disk in plain, and runs it",
        )
    if "/" in (attn_implementation or ""):
        raise UsageError(f"the attention {attn_implementation!r} would be downloaded from a hub")
    if isinstance(tokenizer, str) and tokenizer not in _COMPANIONS:
        raise UsageError(f"{tokenizer!r} loads no tokenizer or processor", f"write one of {', '.join(_COMPANIONS)}")


def _model_class(transformers: Any, auto_class: str | None, config: dict[str, Any]) -> Any:
    """Returns the class that loads the model; a name leads to a model's class, and to nothing else in the package."""
    named = config.get("architectures")
    name = auto_class or (named[0] if isinstance(named, list) and named else None) or "AutoModel"
    found = getattr(transformers, name, None) if isinstance(name, str) else None
    is_model = isinstance(found, type) and (
        name.startswith("AutoModel") or issubclass(found, transformers.PreTrainedModel)
    )
    if is_model:
        return found
    if auto_class is not None:
        raise UsageError(f"transformers has no model class {auto_class!r}")
    return transformers.AutoModel


def _load_companion(transformers: Any, tokenizer: bool | str, folder: Path, config: dict[str, Any]) -> Any:
    """Returns the tokenizer or processor; refuses to let one without any words be made up."""
    files = {path.name for path in folder.iterdir()}
    if tokenizer is True:
        is_more = {"processor_config.json", "preprocessor_config.json"} & files
        tokenizer = "AutoProcessor" if is_more else "AutoTokenizer"
    companion = _from_pretrained(getattr(transformers, str(tokenizer)), folder, config)
    vocabularies = set(getattr(companion, "vocab_files_names", {}).values())
    if vocabularies and not vocabularies & files:
        raise ModelRejectedError("the model comes without a tokenizer", "leave tokenizer=True out")
    return companion


def _from_pretrained(loader: Any, folder: Path, config: dict[str, Any], **options: Any) -> Any:
    try:
        return loader.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **options)
    except pickle.UnpicklingError as cause:
        raise UnsafePickleError(
            "the model's weights are a pickle that is more than tensors, and loading it could run code",
            "the vendor can save them as safetensors",
        ) from cause
    except Exception as cause:
        if "auto_map" in config and "trust_remote_code" in str(cause):
            raise ModelRejectedError(
                "the model brings code of its own, which is never run",
                "the vendor can save it as one of the models that transformers has itself",
            ) from cause
        # The folder is gone when somebody reads the message.
        said = Exception(str(cause).replace(f"{folder}/", "").replace(str(folder), "of the model"))
        raise ModelRejectedError(
            f"transformers did not accept the decrypted model: {first_line(said).rstrip(' .!')}"
        ) from cause


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Hides the progress bars of `transformers`: a locked model's caller has a progress of its own."""
    log = transformers.utils.logging
    if not log.is_progress_bar_enabled():
        yield
        return
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.enable_progress_bar()


def _rename(loaded: Any, name: str) -> None:
    """Gives the model the locked model's name, in the place of a folder that is gone."""
    for module in loaded.modules():
        holders: tuple[Any, Any] = (module, getattr(module, "config", None))
        for holder in holders:
            if hasattr(holder, "name_or_path"):
                holder.name_or_path = name


def _input_names(loaded: Any) -> list[str]:
    """Returns the names of the tensors that a model takes, without settings, labels and caches."""
    parameters = inspect.signature(loaded.forward).parameters.values()
    return [each.name for each in parameters if "Tensor" in str(each.annotation) and each.name != "labels"]


def _arrays(torch: Any, outputs: Any) -> Iterator[tuple[str, Any]]:
    """Yields the tensors among a model's outputs as arrays, those of a sequence with numbers."""
    for name, value in outputs.items():
        tensors = {name: value}
        if isinstance(value, (tuple, list)):
            tensors = {f"{name}_{number}": item for number, item in enumerate(value)}
        for key, tensor in tensors.items():
            if isinstance(tensor, torch.Tensor):
                # NumPy has no bfloat16; float32 holds each of its numbers.
                yield key, (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()
