"""The parts of the bench: sizes, random models, the page cache, workers, and what is printed of given figures."""

import os
from pathlib import Path
from typing import Any

import numpy
import pytest
import safetensors.numpy

from licensing.errors import UsageError
from tools.bench import page_cache, room
from tools.bench.candidate import Candidate, Measurement, Results
from tools.bench.chart import print_chart
from tools.bench.findings import findings, ratios
from tools.bench.host_memory import fetch_memory, gives_memory_back
from tools.bench.machine import machine_facts
from tools.bench.process import Worker, WorkerError
from tools.bench.random_model import read_layout, tensor_sizes, write_random_model
from tools.bench.report import print_report
from tools.bench.settings import MIB, Settings, parse_sizes, size_name, thread_counts

GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("1GiB", [GIB]),
        ("64MiB,256MiB, 1.5 gib", [64 * MIB, 256 * MIB, 1536 * MIB]),
        ("1024kib", [MIB]),
        ("100MB", [100_000_000 // 65536 * 65536]),
    ],
)
def test_sizes_are_read(text: str, sizes: list[int]) -> None:
    assert list(parse_sizes(text)) == sizes


@pytest.mark.parametrize(
    "text", ["", "1", "GiB", "-1GiB", "1e3MiB", "1 TiB", "1GiB 2GiB", "0GiB", "1023KiB", "1025GiB"]
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_sizes(text)


@pytest.mark.parametrize(
    ("size", "name"), [(GIB, "1 GiB"), (64 * MIB, "64 MiB"), (1536 * MIB, "1.5 GiB"), (16896, "16.5 KiB")]
)
def test_sizes_have_names(size: int, name: str) -> None:
    assert size_name(size) == name


@pytest.mark.parametrize(
    ("most", "others"),
    [(1, []), (2, [1]), (8, [*range(1, 8)]), (9, [*range(1, 9)]), (16, [*range(1, 9)]), (40, [*range(1, 9), 16, 32])],
)
def test_fewer_threads(most: int, others: list[int]) -> None:
    assert thread_counts(most, True) == (most, tuple(others))
    assert thread_counts(most, False) == (most, ())


@pytest.mark.parametrize("size", [MIB, 4 * MIB, 64 * MIB, 100 * MIB, GIB, 5 * GIB])
def test_tensors_fill_the_model(size: int) -> None:
    sizes = tensor_sizes(size)
    assert size - 65536 < sum(sizes) <= size
    assert all(each % 16384 == 0 for each in sizes)
    assert set(sizes[:-4]) <= {64 * MIB}
    assert sizes[-1] == 16 * MIB or size not in (64 * MIB, GIB, 5 * GIB)


def test_random_model_is_what_safetensors_reads(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_random_model(path, 2 * MIB)
    tensors = safetensors.numpy.load_file(path)
    assert list(tensors) == [place.name for place in read_layout(path)]
    data = path.read_bytes()
    for place in read_layout(path):
        array = tensors[place.name]
        assert array.shape == (place.rows, 4096)
        assert array.tobytes() == data[place.offset : place.offset + place.size]
        assert numpy.isfinite(array).all()
        assert 0.001 < numpy.abs(array).mean() < 0.1
    assert len({data[place.offset : place.offset + 64] for place in read_layout(path)}) == 4


def test_page_cache_is_warmed_and_dropped(tmp_path: Path) -> None:
    files = (tmp_path / "one", tmp_path / "two", tmp_path / "empty")
    for number, file in enumerate(files):
        file.write_bytes(os.urandom((2 - number) * MIB))
    page_cache.warm(files)
    assert page_cache.resident_share(files) == 1
    page_cache.drop(files)
    # A memory file system keeps everything: then there is nothing to see here.
    assert page_cache.resident_share(files) in (0, 1)
    page_cache.warm(files[:1])
    assert page_cache.resident_share(files) >= 2 / 3
    assert page_cache.resident_share(()) == 0


def test_worker_answers_and_ends(tmp_path: Path) -> None:
    with Worker({"job": "limit", "bytes": MIB}, 1, tmp_path) as worker:
        assert worker.run(1).keys() == {"call"}
        assert worker.peak(2) >= 0
        process = worker._process
    assert process.poll() is not None


def test_worker_says_why_it_failed(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="measuring 'copy' failed: KeyError: 'output'") as failed:
        Worker({"job": "copy"}, 1, tmp_path)
    assert failed.value.reason == "bench_failed"
    missing = {"job": "decrypt", "locked": str(tmp_path / "missing"), "key": "A" * 43 + "=", "bytes": MIB}
    with Worker(missing, 1, tmp_path) as worker, pytest.raises(WorkerError, match="there is no ") as failed:
        worker.run(1)
    assert failed.value.reason == "file_not_found"


def test_worker_that_dies_is_noticed(tmp_path: Path) -> None:
    with Worker({"job": "limit", "bytes": MIB}, 1, tmp_path) as worker:
        worker._process.kill()
        with pytest.raises(WorkerError, match="ended unexpectedly") as failed:
            worker.run(1)
    assert failed.value.reason == "out_of_memory"


def test_peers_that_do_not_fit_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(None, (GIB,), ("torch",), True, 2, (), 5, False, True)
    monkeypatch.setattr(room, "available_memory", lambda: 8 * GIB)
    assert room.peer_obstacle(settings, "cryptotensors", GIB) is None
    assert str(room.peer_obstacle(settings, "fernet", GIB)).startswith("it needs ")
    monkeypatch.setattr(room, "available_memory", lambda: 1000 * GIB)
    assert room.peer_obstacle(settings, "fernet", 5 * GIB) is None
    assert room.peer_obstacle(settings, "one_shot", 5 * GIB) == "one call takes at most 2 GiB"


def measurement(name: str, size: int, *seconds: float, touched: bool = False, **more: Any) -> Measurement:
    samples = [{"call": each, **({"touched": 2 * each} if touched else {})} for each in seconds]
    candidate = Candidate(name, name.replace(".", ", "), {}, size, more.pop("threads", 2), cold=more.pop("cold", False))
    return Measurement(candidate, samples, **more)


@pytest.fixture
def results() -> Results:
    """Made-up figures of a model of 1 GiB: AES takes 0.1 s, and each round is 0.01 s slower than the one before."""
    return Results(
        GIB,
        2,
        [
            measurement("limit", GIB, 0.09, 0.10, 0.11),
            measurement("decrypt", GIB, 0.1, 0.11, 0.12, cached=[1, 1, 1]),
            measurement("torch.plain", GIB, 0.49, 0.5, 0.51, touched=True, cached=[1, 1, 1], peak_bytes=GIB),
            measurement("torch.locked", GIB, 0.15, 0.16, 0.17, touched=True, peak_bytes=int(1.03 * GIB)),
            measurement("torch.locked.lazy", 0, 0.001, 0.002, 0.003, touched=True),
            measurement("safetensors.plain", GIB, 1e-5, 2e-5, 3e-5, touched=True),
            measurement("safetensors.locked", GIB, 0.15, 0.16, 0.17, touched=True),
            measurement("safetensors.locked", GIB, 2.5, 2.6, 2.7, touched=True, cold=True, cached=[0, 0, 0.01]),
            measurement("safetensors.plain", GIB, 2.5, 2.6, 2.7, touched=True, cold=True, cached=[0, 0, 0.01]),
            measurement("torch.locked", GIB, 0.3, 0.32, 0.34, threads=1),
            measurement("copy", GIB, 1, 2, 3),
            measurement("encrypt", GIB, 1, 1, 1),
            measurement("peer.cryptotensors", GIB, 0.3, 0.4, 0.5, touched=True),
            measurement("start.plain", 0, 0.2),
            measurement("start.locked", 0, 0.22),
        ],
        [("tensorizer", "it is not installed")],
    )


def test_ratios_divide_medians(results: Results) -> None:
    found = {(each.time_of, each.in_times_of, each.what, each.page_cache): each.ratio for each in ratios(results)}
    assert found[("decrypt", "limit", "call", "warm")] == 1.1
    assert found[("torch.locked", "torch.plain", "call", "warm")] == 0.32
    assert found[("torch.locked", "limit", "call", "warm")] == 1.6
    assert found[("torch.locked", "peer.cryptotensors", "touched", "warm")] == 0.4
    assert found[("torch.locked.lazy", "torch.locked", "touched", "warm")] == 0.0125
    assert found[("safetensors.locked", "safetensors.plain", "call", "dropped")] == 1
    assert found[("encrypt", "copy", "call", "warm")] == 0.5
    assert found[("start.locked", "start.plain", "call", "warm")] == 1.1
    assert all(isinstance(value, float) for value in found.values())


def test_findings_are_sentences(results: Results) -> None:
    assert findings(results) == [
        "torch: the locked load is 2.50 × as fast as cryptotensors",
        "torch, locked, lazy: one tensor takes 1.2% of the time of all",
        "safetensors: the locked load is 2.50 × as fast as cryptotensors",
    ]


def test_measurements_say_everything_as_json(results: Results) -> None:
    facts = results.measurements[2].to_json()
    assert facts["seconds"] == [0.49, 0.5, 0.51]
    assert facts["median_touched_seconds"] == 1.0
    assert (facts["peak_of_model"], facts["page_cache_shares"]) == (1.0, [1, 1, 1])


def test_report_fits_80_columns(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(None, (GIB,), ("torch",), True, 2, (1,), 3, True, True)
    print_report(settings, {"machine": machine_facts(Path("/")), "runs": [results]})
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80 or line != line.rstrip()] == []
    assert "A model of 1 GiB, 2 threads, medians of 3 rounds:" in lines
    assert "- left out: tensorizer: it is not installed" in lines
    rows = [line.split() for line in lines if line.startswith("torch, locked ")]
    assert ["torch,", "locked", "160", "ms", "150–170", "6.71", "62%", "3.12", "×", "1.03"] in rows


def test_bars_are_in_proportion(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    print_chart(results)
    first, *bars = capsys.readouterr().out.splitlines()
    assert first == "GB/s (10^9 bytes per second), every page read"
    assert all(line.isascii() and len(line) <= 80 for line in bars)
    lengths = {line[:31].strip(): line.count("#") for line in bars}
    assert (lengths["limit"], lengths["decrypt"], lengths["encrypt"]) == (42, 38, 4)
    assert "torch, locked, lazy" not in lengths


@pytest.mark.parametrize(
    ("kind", "features", "gives"),
    [
        ("0x0005", "0" * 5 + "1" + "0" * 58, True),
        ("0x0005", "0" * 64, False),
        ("0x0001", "1" * 64, False),
        ("0x0005", "", False),
    ],
)
def test_balloon_that_reports_free_memory(tmp_path: Path, kind: str, features: str, gives: bool) -> None:
    (device := tmp_path / "virtio0").mkdir()
    (device / "device").write_text(kind + "\n")
    (device / "features").write_text(features + "\n")
    (tmp_path / "virtio1").mkdir()
    assert gives_memory_back(tmp_path) is gives


def test_machine_without_such_devices(tmp_path: Path) -> None:
    assert not gives_memory_back(tmp_path / "none")


def test_fetching_memory_leaves_none_behind() -> None:
    before = resident_bytes()
    fetch_memory(64 * MIB)
    fetch_memory(1)
    assert resident_bytes() - before < 32 * MIB


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
