"""The TSS beside frameworks that bring cryptography of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from licensing.device_key import wrap_secret
from licensing.tpm_device_key import create_tpm_device_key
from tests.command_line import ROOT
from tests.components import need_module
from tests.software_tpm import SoftwareTpm

SECRET = bytes(range(32))

PROGRAM = """
import sys
from pathlib import Path

from licensing.device_key import open_device_key
from tests.lock_scene import MACHINE

def secret():
    return open_device_key(Path(sys.argv[1]), MACHINE).unwrap_secret(Path(sys.argv[2]).read_bytes())

def framework():
    import tensorflow
    assert float(tensorflow.reduce_sum(tensorflow.ones([2, 2]))) == 4.0

steps = [secret, framework] if sys.argv[3] == "first" else [framework, secret]
for step in steps * 2:
    found = step()
    assert found is None or bytes(found) == bytes(range(32))
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", ["first", "after TensorFlow"])
def test_beside_tensorflow(order: str, software_tpm: SoftwareTpm, tmp_path: Path) -> None:
    """TensorFlow lends the functions of its BoringSSL to every library loaded later, and the TSS crashed with them."""
    need_module("tensorflow")
    key = create_tpm_device_key(tmp_path / "home", software_tpm.tcti)
    (tmp_path / "wrapped").write_bytes(wrap_secret(key.public_key, SECRET))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "home"), str(tmp_path / "wrapped"), order]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-2000:]
