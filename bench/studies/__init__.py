"""One declaration a table of a paper: its rows, its columns, its published numbers, the claims it is said to show."""

from bench.studies.architecture import Architecture
from bench.studies.claim import Claim, Contrast
from bench.studies.load import STUDIES, load_study
from bench.studies.metrics import METRICS, Metric
from bench.studies.study import Column, Row, Study, Table

__all__ = [
    "METRICS",
    "STUDIES",
    "Architecture",
    "Claim",
    "Column",
    "Contrast",
    "Metric",
    "Row",
    "Study",
    "Table",
    "load_study",
]
