"""Which device a PyTorch model can run on is known before anything is decrypted for it."""

import pytest
import torch

from cryptors.torch_inference import check_device
from licensing.errors import WeightlockError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:1"])
@pytest.mark.usefixtures("two_gpus")
def test_device_that_is_there(device: str) -> None:
    check_device(device)


@pytest.mark.usefixtures("two_gpus")
def test_device_beyond_the_last() -> None:
    with pytest.raises(WeightlockError) as refusal:
        check_device("cuda:2")
    assert refusal.value.reason == "usage"


def test_no_gpu_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_device("cpu")
    with pytest.raises(WeightlockError) as refusal:
        check_device("cuda:0")
    assert refusal.value.reason == "framework_missing"
