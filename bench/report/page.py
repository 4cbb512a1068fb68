"""A report as one HTML page that needs nothing else: styles, curves and pictures are in it."""

import base64
import re

from bench.report.figures import PALETTE, svg
from bench.report.layout import gap_lines, lay_out, legend, split
from bench.report.model import Picture, Report


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.png).decode()


def _anchor(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name)


def render(report: Report) -> str:
    """The whole report."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"anchor": _anchor, "data_uri": _data_uri}
    return environment.get_template("report.html").render(
        report=report,
        grids={table.name: split(lay_out(table)) for table in report.tables},
        svg=svg,
        legend=legend,
        gap_lines=gap_lines,
        palette=PALETTE,
    )
