"""What is judged of one cell, from its folder and from what SLURM says of its job."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.claims import Owner
from bench.dispatches import Pack
from bench.scheduler import Job
from bench.status import Handed, Trace
from bench.status.standing import before, judge
from tests.fake_trainer import anything
from tests.synthetic_cells import dead

TASK = Job("1205", "1200_5", "bench-x-pretrain-0", "RUNNING", node="n1", partition="main")
OWNER = replace(Owner.me(), host="n1", cluster="dev", job="1205")
FAILED = {"state": "failed", "error": "loss is not finite"}
STOPPED = {"state": "interrupted", "error": "stopped after step 3 of 10", "error_kind": "Interrupted"}
PREEMPTED = {"state": "interrupted", "error": "preempted after step 3 of 10", "error_kind": "Preempted"}


def handed(
    job: Job | None = TASK, *, silent="", number: str | None = "1200_5", name="bench-x-pretrain-0", **more
):
    return Handed(anything(None), Pack(5, "pretrain", ("a",), job=number, name=name), job, silent, **more)


def begun(status, owner: Owner | None = OWNER, scheduler=None):
    trace = Trace(owner=owner, attempt=Path("0001"), status=status, attempts=1)
    trace.__dict__["scheduler"] = scheduler or {}
    return trace


def test_a_result_is_done_whatever_else_is_there():
    assert judge(Trace(done=True), True, handed()) == ("done", "", True)


def test_a_living_owner_runs_it_and_one_nobody_can_ask_about_may():
    assert judge(begun({"state": "running"}), True, None) == ("running", "", True)
    state, reason, sure = judge(begun({"state": "running"}), None, None)
    assert (state, sure) == ("running", False)
    assert "cannot be seen from here" in reason
    state, reason, sure = judge(Trace(claim_broken=True), None, None)
    assert (state, sure) == ("running", False)
    assert "cannot be read" in reason


@pytest.mark.parametrize(
    ("job", "state", "reason"),
    [
        (replace(TASK, state="PENDING", reason="Resources", node=""), "queued", "Resources"),
        (TASK, "queued", "job 1200_5 runs"),
        (replace(TASK, state="CONFIGURING"), "queued", "job 1200_5 runs"),
        (replace(TASK, state="TIMEOUT"), "lost", "job 1200_5: TIMEOUT"),
        (replace(TASK, state="OUT_OF_MEMORY"), "lost", "OUT_OF_MEMORY"),
        (replace(TASK, state="NODE_FAIL"), "lost", "NODE_FAIL (node n1)"),
        (replace(TASK, state="FAILED", exit_code="1:0"), "lost", "FAILED (exit code 1)"),
        (replace(TASK, state="CANCELLED", reason="by 0"), "stopped", "job 1200_5: CANCELLED by 0"),
        (replace(TASK, state="COMPLETED"), "lost", "COMPLETED without it"),
        (replace(TASK, state="UNKNOWN", reason="the controller does not know"), "lost", "does not know"),
        (None, "lost", "knows nothing of job 1200_5"),
    ],
)
def test_a_cell_that_nobody_has_begun_is_what_its_job_is(job, state, reason):
    found = judge(Trace(), False, handed(job))
    assert found[0] == state
    assert reason in found[1]
    assert found[2]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_requeued_job_retries_what_it_had_begun(state):
    job = replace(TASK, state=state, restarts=1, reason="BeginTime" if state == "PENDING" else "")
    for status in ({"state": "running"}, PREEMPTED):
        assert judge(begun(status, None), False, handed(job))[0] == "retrying"
    assert judge(Trace(), False, handed(job))[0] == "queued"


def test_a_failure_stands_until_another_job_is_to_mend_it():
    mine, other = {"job": "1205", "array": "1200_5"}, {"job": "900", "array": None}
    assert judge(begun(FAILED, None, mine), False, handed()) == ("failed", "loss is not finite", True)
    assert judge(begun(FAILED, None, other), False, handed())[0] == "queued"
    assert judge(begun(FAILED, None, other), False, handed(replace(TASK, state="TIMEOUT")))[0] == "failed"
    assert judge(begun(FAILED, None), False, None)[0] == "failed"


def test_what_was_stopped_on_purpose_is_stopped_and_what_was_killed_is_lost():
    assert judge(begun(STOPPED, None), False, None) == ("stopped", STOPPED["error"], True)
    state, reason, _ = judge(begun({"state": "running"}, dead()), False, None)
    assert state == "lost"
    assert "has ended" in reason
    assert judge(begun(PREEMPTED, None), False, handed(replace(TASK, state="TIMEOUT")))[0] == "lost"
    assert judge(begun({}, None), False, None)[0] == "lost"
    assert judge(Trace(owner=dead()), False, None)[0] == "lost"


def test_a_cell_that_its_job_is_to_leave_out_is_stopped():
    assert judge(Trace(), False, handed(cancelled=True))[:2] == (
        "stopped",
        "cancelled; job 1200_5 leaves it out",
    )
    over = handed(replace(TASK, state="CANCELLED"), cancelled=True)
    assert judge(Trace(), False, over)[:2] == ("stopped", "cancelled in job 1200_5")
    assert judge(begun({"state": "running"}), True, handed(cancelled=True))[0] == "running"


def test_where_slurm_is_silent_nothing_is_made_up():
    state, reason, sure = judge(Trace(), False, handed(None, silent="no answer"))
    assert (state, sure) == ("queued", False)
    assert "no answer" in reason
    assert judge(begun({"state": "running"}, None), False, handed(None, silent="no"))[2] is False
    assert judge(begun(FAILED, None), False, handed(None, silent="no"))[0] == "failed"
    assert judge(begun({"state": "running"}), None, handed(None, silent="no")) == ("running", "no", False)


def test_what_was_never_submitted_is_new_and_what_is_being_submitted_is_queued():
    pack = {"number": None, "name": ""}
    assert judge(Trace(), False, handed(None, **pack))[0] == "new"
    assert judge(Trace(), False, handed(None, **pack, submitting=True))[:2] == ("queued", "being submitted")
    # sbatch may have been called: nobody can say.
    assert judge(Trace(), False, handed(None, silent="no", number=None))[::2] == ("queued", False)
    assert judge(Trace(), False, None)[0] == "new"


def test_of_a_pack_the_cells_before_one_are_those_still_to_run():
    assert before(["done", "running", "failed", "queued", "queued"]) == [0, 0, 1, 1, 2]
