"""The check-up of one license: what in it fails on this box, and when it ends."""

from collections.abc import Iterator

from licensing.findings import Finding
from licensing.status import StatusReport

__all__ = ["check_license"]


def check_license(report: StatusReport) -> Iterator[Finding]:
    """Turns the examination of a license into findings.

    Args:
        report: what `licensing.status.examine` found.
    """
    for check in report.checks:
        if check.error is not None:
            yield Finding(
                "license",
                "problem",
                check.error.reason,
                f"{check.name}: {check.sentence}",
                "this license does not unlock here",
                "; or ".join(check.error.hints),
            )
        elif check.warning:
            ends = check.name == "validity"
            yield Finding(
                "license",
                "warning",
                "license_ends" if ends else "license_warning",
                f"{check.name}: {check.sentence}",
                "after its end, it does not unlock any more; models that are loaded stay loaded" if ends else "",
                "ask the vendor to renew it; the locked model stays as it is" if ends else "check the clock",
            )
        else:
            yield Finding("license", "ok", "license", f"{check.name}: {check.sentence}")
