"""The report of runs as one HTML file that needs no network."""

from trl_mle.reports.html.page import write_html

__all__ = ["write_html"]
