"""torch2trt: lock the state dict of a `TRTModule`, and load it back into memory, where there is a GPU.

    python examples/torch2trt_model.py

torch2trt comes from its repository, github.com/NVIDIA-AI-IOT/torch2trt, and needs TensorRT and a GPU. Without them
this example locks a state dict as torch2trt writes it, with an engine that TensorRT for RTX builds without a GPU.
"""

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch

from cryptors import CryptorFactory, FrameworkMissingError, ModelType
from licensing import new_content_key


def convert(network: Any, inputs: Any) -> dict[str, Any]:
    """Returns what torch2trt makes of a network, as a state dict."""
    from torch2trt import torch2trt

    module = torch2trt(network.cuda(), [inputs.cuda()])
    state_dict: dict[str, Any] = module.state_dict()
    return state_dict


def convert_without_gpu() -> dict[str, Any]:
    """Returns such a state dict, of another network, from TensorRT for RTX; torch2trt itself could not load it."""
    import tensorrt_rtx

    logger = tensorrt_rtx.Logger(tensorrt_rtx.Logger.ERROR)
    builder = tensorrt_rtx.Builder(logger)
    network = builder.create_network(0)
    layer = network.add_activation(
        network.add_input("input_0", tensorrt_rtx.float32, (1, 8)), tensorrt_rtx.ActivationType.RELU
    )
    layer.get_output(0).name = "output_0"
    network.mark_output(layer.get_output(0))
    engine = builder.build_serialized_network(network, builder.create_builder_config())
    return {"engine": bytearray(engine), "input_names": ["input_0"], "output_names": ["output_0"]}


def main(folder: Path) -> None:
    network, inputs = (
        torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)),
        torch.ones(1, 8),
    )
    model, locked = folder / "network.pth", folder / "network.pth.locked"
    can_convert = torch.cuda.is_available() and importlib.util.find_spec("torch2trt") is not None
    torch.save(convert(network, inputs) if can_convert else convert_without_gpu(), model)

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_TORCH2TRT)
    cryptor.encrypt(model=model, crypt_key=content_key, crypted_model=locked)
    try:
        module = cryptor.decrypt(locked, crypt_key=content_key, device="cuda:0")
    except FrameworkMissingError as missing:
        print("without torch2trt and a GPU, this example runs nothing:", missing)
        print("the locked model gives the same state dict:", same_state_dict(model, folder))
        return
    output = module(inputs.cuda()).cpu()
    assert torch.allclose(output, network.cpu()(inputs), rtol=1e-2, atol=1e-2)
    print("the locked model gives the same output:", output.tolist())


def same_state_dict(model: Path, folder: Path) -> list[str]:
    """Locks the same file as one of PyTorch, whose cryptor gives the state dict without loading the engine in it."""
    content_key, locked = new_content_key(), folder / "state_dict.locked"
    cryptor = CryptorFactory.instance(ModelType.MODEL_TORCH)
    cryptor.encrypt(model=model, crypt_key=content_key, crypted_model=locked)
    state_dict = cryptor.decrypt(locked, crypt_key=content_key)
    assert state_dict == torch.load(model, weights_only=True)
    return sorted(state_dict)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
