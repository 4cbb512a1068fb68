"""Packs for tests: what a job has to do, written as a dispatch writes it."""

import json
from pathlib import Path
from typing import Any

from bench.launch.slurm.jobs import Jobs, Request
from bench.launch.slurm.profile import from_facts
from bench.plan import Plan, Selection, make_plan
from bench.records import open_results

# torch alone takes more than the development cluster gives by itself.
TABLES: dict[str, Any] = {"all": {"mem_gb": 2, "cpus_per_task": 1, "timeout_min": 20}}


def small(*methods: str, probes: tuple[str, ...] = ("conv1",), **settings: Any) -> Plan:
    """Cells of a few steps on digits."""
    return make_plan(Selection(methods, ("digits",), (0,), probes=probes, preset="smoke", settings=settings))


def write_pack(results: Path, plan: Plan, **more: Any) -> Path:
    """A pack of all cells of a plan; its path."""
    open_results(results)
    pack = {
        "schema": 1,
        "dispatch": "d1",
        "pack": 0,
        "results": str(results),
        "root": None,
        "skip_corrupt": False,
        "device": "cpu",
        "threads": 1,
        "checkpoint_every_steps": 5,
        "cache_bytes": 1 << 30,
        "retry_failed": False,
        "steal": False,
        "max_restarts": None,
        "forget": {},
        "forgive": {},
        "compute": [cell.id for cell in plan.cells],
        "groups": [
            {
                "pretrain": {"config": group.pretrain.config, "source": group.pretrain.source},
                "dependents": [
                    {"config": probe.config, "source": probe.source} for probe in group.dependents
                ],
            }
            for group in plan.groups
        ],
        **more,
    }
    path = results / "slurm" / "d1" / "packs" / "0000.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(pack))
    return path


def jobs(results: Path, code: Path, **table: Any) -> Jobs:
    """What submits packs."""
    profile = from_facts({"tables": {"all": {**TABLES["all"], **table}}})
    folder = results / "slurm" / "d1" / "submitit"
    return Jobs(profile, "pretrain", Request(results, None), folder, code, "bench-test")
