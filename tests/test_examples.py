"""Every example runs as its first lines say, in a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch

from tests.components import need_module

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def run(command: list[str], folder: Path) -> str:
    """Runs an example with its own temporary directory and homes, and returns what it printed."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TMPDIR": str(folder),
        "WEIGHTLOCK_HOME": str(folder / "customer"),
        "WEIGHTLOCK_VENDOR_HOME": str(folder / "vendor"),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_python_examples_run_and_say_that_outputs_agree(script: Path, tmp_path: Path) -> None:
    if script.stem == "gguf_model":
        need_module("llama_cpp")
    assert "the same" in run([sys.executable, str(script)], tmp_path)


def test_there_is_an_example_for_each_type() -> None:
    from cryptors.factory import _CRYPTORS

    names = {script.stem for script in SCRIPTS}
    assert {f"{member.value}_model" for member in _CRYPTORS} <= names


@pytest.mark.slow
def test_the_two_days_on_the_command_line(tmp_path: Path) -> None:
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    network = torch.jit.script(torch.nn.Linear(4, 2))
    torch.jit.save(network, exchange / "network.pt")
    numpy.savez(exchange / "input.npz", numpy.ones((3, 4), numpy.float32))
    vendor, customer = str(EXAMPLES / "vendor_day.sh"), str(EXAMPLES / "customer_day.sh")

    run([vendor, "lock", str(exchange / "network.pt"), str(exchange)], tmp_path)
    run([customer, "ask", str(exchange)], tmp_path)
    run([vendor, "issue", str(exchange)], tmp_path)
    run([customer, "run", str(exchange)], tmp_path)

    with torch.inference_mode():
        expected = network(torch.ones(3, 4)).numpy()
    assert numpy.array_equal(numpy.load(exchange / "output.npz")["output"], expected)
