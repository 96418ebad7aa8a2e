"""A read that fails leaves nothing behind that Python would complain about later.

Run on every supported Python: what happens to a buffer that goes before its parts differs between them.
"""

import subprocess
import sys
from pathlib import Path

from cryptors.source import ModelSource, scan_source
from cryptors.writer import EncryptOptions, write_locked_model
from licensing.content_key import new_content_key

READ_DAMAGED = """
import sys
from cryptors.errors import ModelDamagedError
from cryptors.reader import LockedModel

try:
    with LockedModel(sys.argv[1], bytes.fromhex(sys.argv[2]), threads=int(sys.argv[3])) as model:
        model.file().read_all()
except ModelDamagedError as error:
    print(error.reason)
"""


def test_failed_read_is_silent_on_standard_error(tmp_path: Path) -> None:

    content_key = new_content_key()
    (tmp_path / "plain").write_bytes(bytes(20 * 1024 * 1024))
    source = ModelSource(scan_source(tmp_path / "plain"), directory=False)
    write_locked_model(source, "onnx", content_key, tmp_path / "locked", EncryptOptions())
    damaged = bytearray((tmp_path / "locked").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "locked").write_bytes(damaged)
    for threads in ("1", "4"):
        command = [sys.executable, "-c", READ_DAMAGED, str(tmp_path / "locked"), content_key.hex(), threads]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert (done.stdout, done.stderr) == ("model_damaged\n", "")
