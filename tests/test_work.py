"""Which cells need a job: everything but the scheduler's word is on disk."""

import errno
from dataclasses import replace

import pytest

from bench.attempts import Attempt
from bench.claims import Owner
from bench.dispatches import Pack, load_dispatch, make_dispatch
from bench.launch.slurm import submit
from bench.launch.slurm.jobs import Request
from bench.launch.slurm.packing import Awaited, draft_packs
from bench.launch.slurm.profile import from_facts
from bench.launch.slurm.work import Live, Work, choose, find_live, mark_of
from bench.plan import Selection, make_plan, states
from bench.records import open_results
from bench.scheduler import Job
from tests.test_dispatches import FACTS


class Told:
    """A scheduler whose word is told."""

    def __init__(self, *jobs):
        self.jobs = {job.array_id: job for job in jobs}
        self.asked = []

    def ask(self, ids=()):
        self.asked.append(list(ids))

    def job(self, id):
        return self.jobs.get(id)

    def by_name(self, prefix):
        return [job for job in self.jobs.values() if job.name.startswith(prefix)]


@pytest.fixture
def study(tmp_path):
    open_results(tmp_path)
    return tmp_path, make_plan(Selection(("patchvae",), ("digits",), (0, 1), probes=("conv1", "conv1-5")))


def ids(cells):
    return [cell.id for cell in cells]


def handed(results, *packs, jobs=()):
    dispatch = make_dispatch(results, **FACTS, packs=list(packs))
    dispatch.write()
    return dispatch


def live_in(results, plan, word):
    return find_live(results, set(ids(plan.cells)), word, pytest.fail)


def chosen(results, plan, live=None, **more):
    return choose(plan, states(plan, results), live or {}, **more)


def job(number, state, **more):
    return Job(number, number, "bench-x", state, **more)


@pytest.mark.parametrize(("state", "counts"), [("PENDING", True), ("RUNNING", True), ("NODE_FAIL", False)])
def test_a_cell_in_a_live_job_is_not_submitted_again(study, state, counts):
    results, plan = study
    first = plan.groups[0]
    handed(
        results, Pack(0, "pretrain", tuple(ids((first.pretrain, *first.dependents))), job="7", name="bench-x")
    )
    work = chosen(results, plan, live_in(results, plan, Told(job("7", state))))
    assert bool(work.queued) is counts
    assert len(work.todo) == (3 if counts else 6)


def test_all_jobs_are_asked_for_in_one_question(study):
    results, plan = study
    for number, cell in enumerate(plan.cells):
        handed(results, Pack(0, "pretrain", (cell.id,), job=str(number), name="bench-x"))
    word = Told()
    live_in(results, plan, word)
    assert word.asked == [[str(number) for number in range(6)]]


def test_probes_of_a_pretraining_in_another_job_wait_for_that_job(study):
    results, plan = study
    first, second = plan.groups
    handed(
        results,
        Pack(0, "pretrain", (first.pretrain.id,), job="7", name="bench-x"),
        Pack(1, "pretrain", (second.pretrain.id, "another"), job="8", name="bench-y"),
    )
    work = chosen(results, plan, live_in(results, plan, Told(job("7", "RUNNING"), job("8", "PENDING"))))
    assert work.todo == {*ids(first.dependents), *ids(second.dependents)}
    assert work.awaited == {
        first.pretrain.id: Awaited("7", alone=True),
        second.pretrain.id: Awaited("8", alone=False),
    }


def test_a_cell_that_was_cancelled_in_a_live_job_may_be_submitted_again(study):
    results, plan = study
    cell = plan.groups[0].pretrain
    dispatch = handed(results, Pack(0, "pretrain", (cell.id,), job="7", name="bench-x"))
    word = Told(job("7", "RUNNING"))
    assert cell.id in live_in(results, plan, word)
    dispatch.cancelled_path(cell.id).parent.mkdir()
    dispatch.cancelled_path(cell.id).touch()
    assert cell.id not in live_in(results, plan, word)


def failed(results, cell, **scheduler):
    attempt = Attempt(results, cell.config, provenance={"scheduler": scheduler})
    attempt.fail("no luck")


def test_what_failed_is_left_and_its_probes_with_it_unless_it_is_asked_for(study):
    results, plan = study
    first = plan.groups[0]
    failed(results, first.pretrain)
    work = chosen(results, plan)
    assert (ids(work.failed), ids(work.skipped)) == ([first.pretrain.id], ids(first.dependents))
    again = chosen(results, plan, retry_failed=True)
    assert {first.pretrain.id, *ids(first.dependents)} <= again.todo
    # A job that is requeued must know which failures are its own.
    assert again.forgive[first.pretrain.id] == 1
    assert again.forget == {}


@pytest.mark.parametrize(("made_by", "todo"), [("7", True), ("6", False)])
def test_a_retry_waits_in_the_queue_once_but_a_job_that_has_failed_it_does_not_come_back_to_it(
    study, made_by, todo
):
    results, plan = study
    cell = plan.groups[0].pretrain
    failed(results, cell, job=made_by, restarts=0)
    pack = Pack(0, "pretrain", (cell.id,), job="7", name="bench-x")
    live = {cell.id: Live(handed(results, pack), pack, job("7", "RUNNING"))}
    assert (cell.id in chosen(results, plan, live, retry_failed=True).todo) is todo


def test_force_computes_what_is_done_and_says_up_to_which_attempt_none_counts(study):
    results, plan = study
    cell = plan.groups[0].pretrain
    Attempt(results, cell.config).finish({"steps": 0})
    assert ids(chosen(results, plan).kept) == [cell.id]
    work = chosen(results, plan, force=True)
    assert cell.id in work.todo
    assert work.forget == {cell.id: 1}


def test_a_submission_that_was_not_recorded_is_found_if_its_work_was_put_into_place(study):
    results, plan = study
    cells = ids(plan.cells)
    packs = [Pack(n, "pretrain", (cells[n],), name="bench-x-pretrain-0") for n in range(2)]
    dispatch = handed(results, *packs)
    tasks = [Job(f"9{n}", f"90_{n}", "bench-x-pretrain-0", "PENDING") for n in range(2)]
    assert live_in(results, plan, Told(*tasks)) == {}
    dispatch.submitit_dir.mkdir()
    for n in range(2):
        (dispatch.submitit_dir / f"90_{n}_submitted.pkl").touch()
    found = live_in(results, plan, Told(*tasks))
    assert {cell: live.pack.job for cell, live in found.items()} == {cells[0]: "90_0", cells[1]: "90_1"}


def test_what_another_process_submits_just_now_is_left_to_it(study):
    results, plan = study
    first = plan.groups[0]
    pack = Pack(0, "pretrain", (first.pretrain.id,), name="bench-x")
    dispatch = handed(results, pack)
    dispatch.submitter = mark_of(Owner.me())
    dispatch.write()
    work = chosen(results, plan, live_in(results, plan, Told()))
    assert ids(work.queued) == [first.pretrain.id]
    # Nobody knows yet for which job its probes would have to wait.
    assert ids(work.elsewhere) == ids(first.dependents)


def test_a_job_that_makes_probes_too_may_fail_by_them(study):
    results, plan = study
    first = plan.groups[0]
    handed(results, Pack(0, "pretrain", (first.pretrain.id, first.dependents[0].id), job="7", name="bench-x"))
    work = chosen(results, plan, live_in(results, plan, Told(job("7", "RUNNING"))))
    assert work.awaited == {first.pretrain.id: Awaited("7", alone=False)}


@pytest.mark.parametrize("now", [job("7", "RUNNING", restarts=1), job("7", "PENDING", restarts=1)])
def test_a_job_that_came_back_does_not_mend_what_it_failed_in_an_earlier_life(study, now):
    results, plan = study
    cell = plan.groups[0].pretrain
    failed(results, cell, job="7", restarts=0)
    pack = Pack(0, "pretrain", (cell.id,), job="7", name="bench-x")
    live = {cell.id: Live(handed(results, pack), pack, now)}
    assert cell.id in chosen(results, plan, live, retry_failed=True).todo


def test_probes_that_a_live_job_has_skipped_are_retried_with_their_pretraining(study):
    results, plan = study
    first = plan.groups[0]
    failed(results, first.pretrain, job="7", restarts=0)
    pack = Pack(0, "pretrain", tuple(ids((first.pretrain, *first.dependents))), job="7", name="bench-x")
    one = Live(handed(results, pack), pack, job("7", "RUNNING"))
    work = chosen(results, plan, dict.fromkeys(pack.cells, one), retry_failed=True)
    assert set(pack.cells) <= work.todo


def test_force_does_not_take_a_job_that_has_done_a_cell_for_one_that_will(study):
    results, plan = study
    first = plan.groups[0]
    Attempt(results, first.pretrain.config, provenance={"scheduler": {"job": "7", "restarts": 0}}).finish({})
    pack = Pack(0, "pretrain", tuple(ids((first.pretrain, *first.dependents))), job="7", name="bench-x")
    one = Live(handed(results, pack), pack, job("7", "RUNNING"))
    work = chosen(results, plan, dict.fromkeys(pack.cells, one), force=True)
    assert first.pretrain.id in work.todo
    assert set(ids(first.dependents)) <= set(ids(work.queued))


def test_a_dispatch_whose_submitter_may_live_is_not_written_by_another(study):
    results, plan = study
    cells = ids(plan.cells)
    dispatch = handed(results, Pack(0, "pretrain", (cells[0],), name="bench-x-pretrain-0"))
    dispatch.submitter = mark_of(replace(Owner.me(), host="login2"))
    dispatch.write()
    dispatch.submitit_dir.mkdir()
    (dispatch.submitit_dir / "90_submitted.pkl").touch()
    found = live_in(results, plan, Told(replace(job("90", "PENDING"), name="bench-x-pretrain-0")))
    assert found[cells[0]].pack.job == "90"
    assert load_dispatch(dispatch.dir).packs[0].job is None


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OSError),
        # An sbatch that a signal ended says nothing, and may have been answered.
        (submit.sbatch.SubmitError(""), submit.sbatch.SubmitError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["no room", "killed", "interrupted"],
)
def test_an_array_that_could_not_be_put_into_place_is_cancelled(study, monkeypatch, error, raised):
    results, plan = study
    cancelled = []
    monkeypatch.setattr(submit, "cancel_orphans", lambda name: not cancelled.append(name))
    monkeypatch.setattr(submit.snapshot, "take", lambda results: results)
    monkeypatch.setattr(submit.scheduler, "cluster_name", lambda: "dev")
    monkeypatch.setattr(submit.sbatch, "max_array_size", lambda: 1000)

    def answered_then_no_room(self, paths):
        raise error

    monkeypatch.setattr(submit.Jobs, "submit", answered_then_no_room)
    drafts = draft_packs(plan.groups, set(ids(plan.cells)), lambda cell: 1.0, {"pretrain": 60.0})
    one = submit.Submitter(Request(results, None), from_facts({"tables": {"all": {}}}), Work(), pytest.fail)
    with pytest.raises(raised):
        one.run(drafts)
    (name,) = cancelled
    assert name.startswith(f"bench-{one.dispatch.id}-pretrain-")
