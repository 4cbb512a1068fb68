"""What `bench run` says: its plan, how it ended, what to type next."""

import contextlib
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from bench.commands.options import counted
from bench.files import dumps
from bench.launch.outcome import Outcome, Summary
from bench.plan import Cell, Plan
from bench.records import Run, State
from bench.time_left import duration

States = Mapping[str, tuple[State, Run | None]]


class Voice:
    """Lines for a person: on standard output, or on standard error where that is for JSON."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.stream = sys.stderr if as_json else sys.stdout

    def __call__(self, text: str) -> None:
        """Say a line."""
        with contextlib.suppress(OSError):
            # A terminal that went away must not stop the run.
            print(text, file=self.stream, flush=True)

    def object(self, value: Mapping[str, Any]) -> None:
        """The JSON object, if one was asked for."""
        if self.as_json:
            print(dumps(value, indent=1))


class Fuller(Voice):
    """Says what another does, with facts of its own in the JSON object."""

    def __init__(self, say: Voice, facts: Mapping[str, Any]) -> None:
        super().__init__(say.as_json)
        self._facts = facts

    def object(self, value: Mapping[str, Any]) -> None:
        """The object, the facts first; where both know something, it is the object's."""
        super().object({**self._facts, **value})


def counts(plan: Plan, found: States, queued: Iterable[Cell] = ()) -> str:
    """How many cells there are of each state; `queued` are in a job, which their folders do not tell."""
    waiting = {cell.id for cell in queued}

    def state(id: str) -> str:
        return (
            "queued" if id in waiting and found[id][0] in ("new", "interrupted", "failed") else found[id][0]
        )

    number = Counter(state(cell.id) for cell in plan.cells)
    order = ("done", "running", "queued", "interrupted", "failed", "new")
    return f"{counted(len(plan), 'cell')}: " + ", ".join(
        f"{number[state]} {state}" for state in order if number[state]
    )


def cell_facts(cell: Cell, found: States) -> dict[str, Any]:
    """A cell of a dry run for a program."""
    return {
        "id": cell.id,
        "kind": cell.kind,
        "state": found[cell.id][0],
        "label": cell.label,
        "config": cell.config,
    }


def command_line(*more: str) -> str:
    """The line that was typed, with some words more."""
    typed: list[str] = click.get_current_context().obj
    return shlex.join(["bench", *(word for word in typed if word not in more), *more])


def retry_line() -> str:
    """The line that was typed, so that it tries again what failed."""
    typed: list[str] = click.get_current_context().obj
    return command_line() if typed[:1] == ["retry"] else command_line("--retry-failed")


def shell_line(command: str, results: Path) -> str:
    """A command for a results folder, as it is typed."""
    return shlex.join(["bench", command, "--results", str(results)])


def show_end(summary: Summary, results: Path, seconds: float, forced: bool, say: Voice) -> None:
    """How a run ended; the last line is what to type next."""
    failed, skipped = summary.of("failed"), summary.of("skipped")
    for outcome in failed:
        log = f" (log {outcome.log})" if outcome.log else ""
        say(f"failed: {outcome.cell.label}: {outcome.reason}{log}")
    if skipped:
        say(f"skipped: {counted(len(skipped), 'cell')} of pretrainings that failed")
    if elsewhere := summary.of("elsewhere"):
        say(f"running elsewhere: {counted(len(elsewhere), 'cell')} ({elsewhere[0].reason})")
    done, kept = len(summary.of("done")), len(summary.of("kept"))
    say(f"{done + kept} of {summary.total} cells are done ({done} now, in {duration(seconds)})")
    report = shell_line("report", results)
    follow = report
    if summary.stopped is not None:
        follow = command_line()
        where = "starts over, as --force does" if forced else "goes on from there"
        say(f"{summary.stopped}; all is saved, and the next line {where}")
    elif failed:
        follow = retry_line()
        say("the next line tries what failed again; what there is: " + report)
    elif elsewhere:
        follow = command_line()
        say("the next line takes up what is left of that; what there is: " + report)
    say(f"next: {follow}")
    say.object(
        {
            "results": str(results),
            "cells": summary.total,
            "done": kept + done,
            "ran": done,
            "failed": [_facts(outcome) for outcome in failed],
            "skipped": [_facts(outcome) for outcome in skipped],
            "elsewhere": [_facts(outcome) for outcome in elsewhere],
            "stopped": str(summary.stopped) if summary.stopped else None,
            "seconds": seconds,
            "exit_code": summary.exit_code,
            "next": follow,
        }
    )


def _facts(outcome: Outcome) -> dict[str, Any]:
    log = str(outcome.log) if outcome.log else None
    return {"id": outcome.cell.id, "label": outcome.cell.label, "reason": outcome.reason, "log": log}
