"""torch.export: a program for any number of rows."""

from pathlib import Path
from typing import Any

import torch

from cryptors import ModelType
from tests.contract.case import Arrays, Case, inputs, trained_network
from tests.contract.cases_torch import TORCH

__all__ = ["CASES"]


def make_program(folder: Path, width: int) -> Path:
    rows = {"x": {0: torch.export.Dim("rows")}}
    arguments = (torch.from_numpy(inputs(width)["x"]),)
    program = torch.export.export(trained_network(width), arguments, dynamic_shapes=rows)
    torch.export.save(program, folder / "network.pt2")
    return folder / "network.pt2"


def program_outputs(program: Any) -> Arrays:
    width = program.state_dict["first.weight"].shape[1]
    with torch.inference_mode():
        return {"output": program.module()(torch.from_numpy(inputs(width)["x"])).numpy()}


CASES = [
    Case(
        "torch-export", ModelType.MODEL_TORCH_EXPORT, make_program, torch.export.load, program_outputs,
        lambda path: program_outputs(torch.export.load(path)), TORCH,
    ),
]  # fmt: skip
