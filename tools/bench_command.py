"""How fast locked models load on this machine: `weightlock bench`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from tools.options import Json, Threads, flag, path_argument
from tools.output import print_facts

__all__ = ["bench"]


def bench(
    model: Annotated[
        Path | None, path_argument("A plaintext model to measure: a file or a directory (default: random tensors).")
    ] = None,
    size: Annotated[
        str, typer.Option("--size", help="How large the random model is; several sizes: 64MiB,256MiB,1GiB.")
    ] = "1GiB",
    types: Annotated[
        str | None, typer.Option("--types", help="Model types, such as torch,onnx (default: those installed).")
    ] = None,
    threads: Threads = None,
    all_threads: Annotated[
        bool, flag("--all-threads", help="Measure with every smaller number of threads, too.")
    ] = False,
    repeat: Annotated[int, typer.Option("--repeat", min=1, max=1000, help="How many rounds count.")] = 5,
    cold: Annotated[bool, flag("--cold", help="Measure with the page cache dropped, too.")] = False,
    peers: Annotated[bool, flag("--peers", help="Measure what others offer, too, where it is installed.")] = False,
    as_json: Json = False,
) -> None:
    """Measure how fast locked models load here, beside plaintext and the speed of AES."""
    from tools.bench.findings import ratios
    from tools.bench.run import choose_types, run_bench
    from tools.bench.settings import Settings, parse_sizes, thread_counts
    from tools.bench.steps import steps

    sizes = parse_sizes(size)
    model = Path(os.path.abspath(model)) if model is not None else None
    kinds, named = choose_types(model, types)
    most, fewer = thread_counts(threads, all_threads)
    settings = Settings(model, sizes, kinds, named, most, fewer, repeat, cold, peers)
    facts = run_bench(settings, steps)

    def sentence() -> None:
        from tools.bench.report import print_report

        print_report(settings, facts)

    runs = [
        {
            "bytes": results.size,
            "threads": results.threads,
            "measurements": [each.to_json() for each in results.measurements],
            "ratios": [each.to_json() for each in ratios(results)],
            "left_out": [{"label": label, "why": why} for label, why in results.left_out],
        }
        for results in facts["runs"]
    ]
    shown = {"repeat": repeat, "types": kinds, "machine": facts["machine"], "runs": runs}
    print_facts(shown, as_json, sentence)
