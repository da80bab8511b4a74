"""The report of a run: one HTML file that opens offline."""

from lightning_dissect.report.html.page import write_report

__all__ = ["write_report"]
