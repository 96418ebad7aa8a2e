"""Paddle models for tests, of the network that tests/contract tries, in all forms that Paddle writes.

Paddle is imported when the first of them is made, and takes its time.
"""

from pathlib import Path
from typing import Any

from cryptors.paddle_inference import import_paddle

__all__ = ["new_layer", "predictor", "write_json", "write_pdmodel", "write_state_dict"]

Weights = dict[str, Any]
"""NumPy arrays as `tests.contract.case.trained_weights` gives them."""


def new_layer(width: int, weights: Weights | None = None) -> Any:
    """Returns the network as a layer, ready to infer; without weights, with some of its own."""
    paddle = import_paddle()
    base: Any = paddle.nn.Layer

    class Network(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = paddle.nn.Linear(width, width)
            self.last = paddle.nn.Linear(width, 3)

        def forward(self, x: Any) -> Any:
            return self.last(paddle.nn.functional.relu(self.first(x)))

    network = Network()
    network.eval()
    if weights is not None:
        assert network.set_state_dict(transposed(weights)) == ([], [])
    return network


def transposed(weights: Weights) -> Weights:
    """Returns the weights as Paddle keeps them: y = x @ weight + bias."""
    return {name: array.T.copy() for name, array in weights.items()}


def write_json(path: Path, weights: Weights) -> Path:
    """Writes a program in Paddle 3's format, with its parameters beside it.

    Args:
        path: the program file; it ends with ".json".
        weights: of the network.
    """
    paddle = import_paddle()
    width = weights["first.bias"].shape[0]
    wanted = [paddle.static.InputSpec([None, width], "float32", "x")]
    paddle.jit.save(new_layer(width, weights), str(path.with_suffix("")), input_spec=wanted)
    return path


def write_pdmodel(path: Path, weights: Weights) -> Path:
    """Writes a program in Paddle 2's format, with its parameters beside it; arguments as in `write_json`."""
    paddle = import_paddle()
    static, width = paddle.static, weights["first.bias"].shape[0]
    with paddle.pir_utils.OldIrGuard(), static.scope_guard(static.Scope()):
        program, startup = static.Program(), static.Program()
        with static.program_guard(program, startup), paddle.utils.unique_name.guard():
            x = static.data("x", [None, width], "float32")
            network = new_layer(width)
            y = network(x)
        executor = static.Executor(paddle.CPUPlace())
        executor.run(startup)
        arrays = transposed(weights)
        for name, parameter in network.state_dict().items():
            static.global_scope().find_var(parameter.name).get_tensor().set(arrays[name], paddle.CPUPlace())
        static.save_inference_model(str(path.with_suffix("")), [x], [y], executor, program=program)
    return path


def write_state_dict(path: Path, weights: Weights) -> Path:
    """Writes the network's state dict; arguments as in `write_json`."""
    import_paddle().save(new_layer(weights["first.bias"].shape[0], weights).state_dict(), str(path))
    return path


def predictor(program: Path) -> Any:
    """Returns Paddle's own predictor for a program on disk."""
    inference = import_paddle().inference
    config = inference.Config(str(program), str(program.with_suffix(".pdiparams")))
    config.disable_glog_info()
    return inference.create_predictor(config)
