"""Bars in plain text."""

from tools.bench.candidate import CALL, TOUCHED, Measurement, Results

__all__ = ["print_chart"]

LABEL_COLUMNS, BAR_COLUMNS = 31, 42


def print_chart(results: Results) -> None:
    """Prints a bar for the rate of everything that deals with a whole model, each page of it read."""
    rates = {
        measurement.candidate.label: measurement.rate(_what(measurement))
        for measurement in results.measurements
        if measurement.candidate.size
    }
    longest = max(rates.values(), default=1.0)
    print("GB/s (10^9 bytes per second), every page read")
    for label, rate in rates.items():
        bar = "#" * max(1, round(BAR_COLUMNS * rate / longest))
        print(f"{label[:LABEL_COLUMNS]:<{LABEL_COLUMNS}} {bar} {rate / 1e9:.2f}")


def _what(measurement: Measurement) -> str:
    return TOUCHED if measurement.seconds(TOUCHED) else CALL
