"""What a run leaves for people: the summary on the terminal, files, a picture, and a section of the model card."""

from trl_mle.reports.card_results import result_metadata
from trl_mle.reports.html import write_html
from trl_mle.reports.plot import plot_run
from trl_mle.reports.terminal import report_run, scores_section

__all__ = ["plot_run", "report_run", "result_metadata", "scores_section", "write_html"]
