"""Names of devices: what they mean for every framework, and which GPU a license is then asked about."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cryptors import CryptorFactory, ModelType
from cryptors.devices import device_named, gpu_index
from cryptors.onnx_providers import device_of
from cryptors.torch_inference import torch_device
from licensing.errors import GpuMismatchError, UsageError
from tests.cryptors.containers import write_container
from tests.licensed_box import LicensedBox


@pytest.mark.parametrize(("device", "index"), [("cpu", None), ("cuda", 0), ("cuda:0", 0), ("cuda:12", 12)])
def test_index(device: str, index: int | None) -> None:
    assert gpu_index(device) == index


@pytest.mark.parametrize(
    "device", ["", "gpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:²", "cuda:-1", "mps", "cuda:0 "]
)
def test_no_device(device: str) -> None:
    with pytest.raises(UsageError) as refusal:
        gpu_index(device)
    assert refusal.value.message == f"there is no device {device!r}"
    assert refusal.value.hints == ("write cpu or cuda:N",)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("cuda:1", "cuda:1"),
        (torch.device("cuda", 3), "cuda:3"),
        (torch.device("cuda"), "cuda"),
        (torch.device("cpu"), "cpu"),
        (2, "cuda:2"),
        (True, None),
        (None, None),
        ({"cuda:0": "cpu"}, None),
        (lambda storage, location: storage, None),
    ],
)
def test_what_frameworks_take(value: Any, name: str | None) -> None:
    assert device_named(value) == name


def test_current_gpu_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_device("cuda") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert (torch_device("cuda"), torch_device("cuda:0"), torch_device("cpu")) == ("cuda:2", "cuda:0", "cpu")


@pytest.mark.parametrize(
    ("providers", "device"),
    [
        (["CPUExecutionProvider"], None),
        ([("CPUExecutionProvider", {"device_id": 3})], None),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], "cuda:0"),
        ([("TensorrtExecutionProvider", {"device_id": "2"}), "CPUExecutionProvider"], "cuda:2"),
        (["CPUExecutionProvider", ("CUDAExecutionProvider", {"device_id": 1})], "cuda:1"),
    ],
)
def test_providers_of_onnx_runtime(providers: list[Any], device: str | None) -> None:
    assert device_of(providers) == device


# What reaches the license.

ASKED: dict[ModelType, tuple[dict[str, Any], str | None]] = {
    ModelType.MODEL_TORCH: ({"map_location": torch.device("cuda", 1)}, "cuda:1"),
    ModelType.MODEL_TORCHSCRIPT: ({"map_location": "cuda:1"}, "cuda:1"),
    ModelType.MODEL_TORCH_EXPORT: ({"map_location": "cuda:1"}, "cuda:1"),
    ModelType.MODEL_SAFETENSORS: ({"device": 1}, "cuda:1"),
    ModelType.MODEL_HUGGINGFACE: ({"device": "cuda:1"}, "cuda:1"),
    ModelType.MODEL_ONNX: ({"providers": [("CUDAExecutionProvider", {"device_id": 1})]}, "cuda:1"),
    ModelType.MODEL_TENSORRT: ({}, "cuda:0"),
    ModelType.MODEL_TORCH2TRT: ({}, "cuda:0"),
    ModelType.MODEL_PADDLE2TRT: ({}, "cuda:0"),
    ModelType.MODEL_PADDLE: ({"device": "cuda:1"}, "cuda:1"),
    ModelType.MODEL_TENSORFLOW: ({"device": "cuda:1"}, "cuda:1"),
    ModelType.MODEL_TF2TRT: ({"device": "cuda:1"}, "cuda:1"),
    ModelType.MODEL_OPENVINO: ({"device": "cpu"}, "cpu"),
    ModelType.MODEL_LITERT: ({}, None),
    ModelType.MODEL_GGUF: ({"n_gpu_layers": 10}, None),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Returns the devices that unlocking is asked about, which then refuses."""
    devices: list[str | None] = []

    def refuse(*arguments: Any, device: str | None = None, **others: Any) -> None:
        devices.append(device)
        raise GpuMismatchError("refused here")

    monkeypatch.setattr("cryptors.keys.unlock", refuse)
    return devices


@pytest.mark.parametrize("kind", ModelType)
def test_license_is_asked_about_the_device_that_computes(
    kind: ModelType, asked: list[str | None], licensed_box: LicensedBox, tmp_path: Path
) -> None:
    """For each type of model: a new one must say where it computes, too."""
    options, device = ASKED[kind]
    write_container(tmp_path / "m.locked", {"a": b"1"})
    with pytest.raises(GpuMismatchError):
        CryptorFactory.instance(kind).load(tmp_path / "m.locked", license="acme.lic", **options)
    with pytest.raises(GpuMismatchError):
        CryptorFactory.instance(kind).decrypt(tmp_path / "m.locked", license="acme.lic", **options)
    assert asked == [device, None if kind is ModelType.MODEL_TENSORRT else device]


def test_onnx_without_providers(asked: list[str | None], tmp_path: Path) -> None:
    write_container(tmp_path / "m.locked", {"a": b"1"})
    for options in ({"device": "cuda:3"}, {"device": "cuda:3", "providers": ["CPUExecutionProvider"]}, {}):
        with pytest.raises(GpuMismatchError):
            CryptorFactory.instance("onnx").load(tmp_path / "m.locked", license="acme.lic", **options)
    assert asked == ["cuda:3", None, None]
