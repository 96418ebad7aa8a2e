"""The meter of the bench, which the tests of memory use as well."""

from tools.bench.footprint import PeakWatch, footprint

__all__ = ["PeakWatch", "footprint"]
