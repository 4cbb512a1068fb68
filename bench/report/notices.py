"""What must be read before any number: where the runs are not those of the paper."""

from collections.abc import Sequence

from bench.report import captions
from bench.report.claims import is_transfer
from bench.report.panel import dataset_title
from bench.report.sheets import Sheet
from bench.studies import Study


def notices(study: Study | None, found: Sequence[Sheet]) -> list[str]:
    """A line for each way in which runs of the study's tables are not the paper's.

    Args:
        study: whose schedules they are held against; None for none.
        found: the tables of the report.
    """
    schedules = (
        {name: epochs for table in study.tables for name, epochs in table.schedule.items()} if study else {}
    )
    lines: dict[str, None] = {}
    for sheet in found:
        if sheet.table is None:
            continue
        for panel in sheet.panels:
            if is_transfer(sheet):
                origin = dataset_title(panel.pretrain["dataset"])
                lines[
                    f"Table {sheet.table.name} on {dataset_title(panel.dataset)}: pretrained on {origin}, which is"
                    " not the paper's setting: the paper's claims are not judged there."
                ] = None
                continue
            theirs = sheet.table.schedule.get(str(panel.dataset["name"]))
            part = "fraction" in panel.dataset
            if part or (theirs is not None and not captions.same_schedule(panel, theirs)):
                paper = f"; the paper's is {theirs[0]} + {theirs[1]} epochs" if theirs else ""
                on = " of a part of the training images" if part else ""
                lines[
                    f"The schedule is not the paper's: {captions.schedule(panel)}{on} ({panel.title}){paper}."
                ] = None
            elif str(panel.dataset["name"]) not in schedules and not any(
                captions.same_schedule(panel, other) for other in schedules.values()
            ):
                lines[
                    f"The schedule is not the paper's: {captions.schedule(panel)} ({panel.title}, which is not among"
                    " its data sets)."
                ] = None
    # Another table of the same runs may have no schedule of the paper to name: what is said in full says it.
    return [line for line in lines if not any(other.startswith(f"{line[:-1]};") for other in lines)]
