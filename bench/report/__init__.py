"""What runs left, as tables with intervals: on the terminal, as HTML, Markdown, LaTeX and CSV. No torch."""

from bench.report.build import Records, build, read, render_terminal, write
from bench.report.model import Report

__all__ = ["Records", "Report", "build", "read", "render_terminal", "write"]
