"""The report as typed data: all that is printed, before anyone decides how."""

from bench.report.model.claims import Claim, Comparison, Verdict
from bench.report.model.figures import Chart, Facts, Figure, Forest, ForestLine, Line, Picture, Point, Scatter
from bench.report.model.report import Confusion, Plain, Report, RunDetail, Source
from bench.report.model.tables import Against, Cell, CellState, Column, Cost, Gap, Mark, Row, RowGroup, Table

__all__ = [
    "Against",
    "Cell",
    "CellState",
    "Chart",
    "Claim",
    "Column",
    "Comparison",
    "Confusion",
    "Cost",
    "Facts",
    "Figure",
    "Forest",
    "ForestLine",
    "Gap",
    "Line",
    "Mark",
    "Picture",
    "Plain",
    "Point",
    "Report",
    "Row",
    "RowGroup",
    "RunDetail",
    "Scatter",
    "Source",
    "Table",
    "Verdict",
]
