"""A report as one HTML page that needs nothing else: styles, drawings, pictures and every cell's runs are in it.

The page forbids itself the network and any script but its own (a content security policy), and can be read without
scripts: they add sorting, tooltips and the panel in which a cell shows its runs.
"""

import base64
import hashlib
import itertools
import re
from typing import TYPE_CHECKING, Any

from bench.report import drawing
from bench.report.findings import findings
from bench.report.grid_html import table_html
from bench.report.layout import MINUS, Grid, gap_lines, lay_out, legend
from bench.report.model import Chart, Figure, Forest, Picture, Report, Scatter
from bench.report.opened import open_cells
from bench.report.said import VERDICTS
from bench.report.variance import of_baseline, printed
from bench.report.words import rounded

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_BYTES = 20_000_000
"""Beyond it the curves and confusion pictures of cells are left out, and the page says so."""


def render(report: Report, refresh: str | None = None, version: str = "") -> str:
    """The whole report.

    Args:
        report: what to show.
        refresh: relative address that answers with a version; the page asks it now and then, and loads itself anew
            when the version changes. None, as for a file, leaves that out.
        version: the version that this page is of; "" takes the first answer for it.
    """
    environment = templates()
    body = environment.get_template("body.html").render(
        report=report,
        findings=findings(report),
        verdicts=VERDICTS,
        grids={table.name: lay_out(table) for table in report.tables},
        legend=legend,
        gap_lines=gap_lines,
    )
    style = _source(environment, "style.css")
    style = style.replace("/* light palette */", drawing.colour_rules(drawing.PALETTE))
    style = style.replace("/* dark palette */", drawing.colour_rules(drawing.DARK))
    scripts = ("page.js", "cells.js", "drawn.js", *(["refresh.js"] if refresh is not None else []))
    script = "".join(_source(environment, name) for name in scripts)
    return environment.get_template("page.html").render(
        report=report,
        body=body,
        opened=open_cells(report, MOST_BYTES - sum(len(text.encode()) for text in (body, style, script))),
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        refresh=refresh,
        version=version,
    )


def templates() -> "Environment":
    """The templates of pages, which escape what they are given and know no name by chance."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "anchor": anchor,
        "data_uri": _data_uri,
        "unbroken": _unbroken,
        "kind": lambda panel: type(panel).__name__,
    }
    environment.globals |= {
        "drawn": _drawn,
        "swatch": drawing.swatch,
        "keys": _keys,
        "strips": _strips,
        "table_html": table_html,
        "aside": _aside,
        "panel_runs": _panel_runs,
        "difference": _difference,
        "varied_of": lambda table: printed(of_baseline(table), "differences"),
        "own_title": lambda figure, table: figure.title.removesuffix(f", {table.title}"),
    }
    environment.tests["aside"] = _aside
    return environment


def _source(environment: "Environment", name: str) -> str:
    """A file of the templates as it is."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def anchor(name: str) -> str:
    """A name as part of an address."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name)


def _unbroken(text: str) -> str:
    """A text whose p values stay on one line."""
    return re.sub(r"\bp ([=<]) ", "p\u00a0\\1\u00a0", text)


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.png).decode()


def _drawn(panel: Chart | Scatter) -> str:
    return drawing.chart(panel) if isinstance(panel, Chart) else drawing.scatter(panel)


def _keys(figure: Figure) -> dict[int, str]:
    """The legend: what the figure says, else the labels of its marks; none where every panel shows one row."""
    marks = [_marks(panel) for panel in figure.panels]
    if all(len({mark.colour for mark in own}) < 2 for own in marks):
        return {}
    found = {mark.colour: mark.label for own in marks for mark in own}
    return {colour: figure.keys.get(colour, label) for colour, label in sorted(found.items())}


def _marks(panel: Any) -> tuple[Any, ...]:
    return panel.lines if isinstance(panel, Chart) else panel.points if isinstance(panel, Scatter) else ()


def _strips(forest: Forest) -> tuple[list[tuple[str, list[tuple[Any, str]]]], str]:
    """A forest's lines by group, each with its drawing, and the axis below."""
    reach = [value for line in forest.lines for value in (line.centre, line.published, *line.dots)]
    reach += [line.centre + side * line.half for line in forest.lines if line.half for side in (-1, 1)]
    axis = drawing.axis_of(reach)
    groups: dict[str, list[tuple[Any, str]]] = {}
    for line in forest.lines:
        svg = drawing.strip(axis, line.centre, line.half, line.dots, line.published)
        groups.setdefault(line.group, []).append((line, svg))
    return list(groups.items()), drawing.ruler(axis)


def _aside(grid: Grid) -> bool:
    """Whether a grid holds no measured number."""
    return all(group.kind != "measured" for group in grid.groups)


def _panel_runs(figure: Figure) -> list[list[Any]]:
    """Neighbouring panels of one kind, which are printed side by side."""
    return [list(panels) for _, panels in itertools.groupby(figure.panels, type)]


def _difference(centre: float, half: float | None) -> str:
    """A number of a forest plot with its sign, in the digits that such a plot can show."""
    digits = 2 if abs(centre) < 100 else 1
    text = f"{centre:+.{digits}f}" + ("" if half is None else f" ± {rounded(half, digits)}")
    return text.replace("-", MINUS)
