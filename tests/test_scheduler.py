"""What SLURM says of jobs: asked of a real one, and read from output that a real one gave."""

import time

import pytest

from bench import scheduler
from bench.scheduler import Job, Unreachable, Word, jobs
from tests.slurm_cluster import Cluster

# squeue -h -r -a -t all -O ... of SLURM 22.05.8; | stands for the separator.
QUEUE = """\
256641|256641_2|PENDING|JobArrayTaskLimit||0|0|main|bench-x-pretrain-0|
256641|256641_3|PENDING|JobArrayTaskLimit||0|0|main|bench-x-pretrain-0|
256643|256643|PENDING|JobHeldUser||0|0|main|wrap|
256645|256641_0|RUNNING|None|127.0.0.1|0|0|main|bench-x-pretrain-0|
256647|256647|COMPLETING|None|127.0.0.2|1|0|low|trap.sh|
256642|256642|FAILED|NonZeroExitCode|127.0.0.1|0|256|main|wrap|
256640|256640|CANCELLED|Resources|127.0.0.1|0|15|main|odd name|
""".replace("|", jobs.FIELD)
# sacct -D -X -n -P --format=...
ACCOUNT = """\
256640|256640|CANCELLED by 0|None|127.0.0.1|0:0|main|odd name
256645|256641_0|REQUEUED|None|127.0.0.1|0:0|main|bench-x-pretrain-0
256641|256641_[2-3,5-9:2%2]|CANCELLED by 0|None|None assigned|0:0|main|bench-x-pretrain-0
256645|256641_0|NODE_FAIL|None|127.0.0.2|1:0|main|bench-x-pretrain-0
""".replace("|", jobs.FIELD)


def test_squeue_is_read_field_by_field():
    found = {job.array_id: job for job in jobs.parse_squeue(QUEUE)}
    assert len(found) == 7
    assert found["256641_0"] == Job(
        "256645", "256641_0", "bench-x-pretrain-0", "RUNNING", "", "127.0.0.1", 0, "0:0", "main"
    )
    assert found["256643"].reason == "JobHeldUser"
    assert found["256642"].exit_code == "1:0"
    assert found["256642"].verdict == "FAILED (exit code 1)"
    # Its reason is the one for which it waited before.
    assert (found["256640"].reason, found["256640"].exit_code) == ("", "0:15")
    assert [job.array_id for job in found.values() if job.live] == [
        "256641_2", "256641_3", "256643", "256641_0", "256647",
    ]  # fmt: skip
    assert [job.array_id for job in found.values() if job.waiting] == ["256641_2", "256641_3", "256643"]


NO_OUTPUT = "its output could not be written: was the results folder moved?"


@pytest.mark.parametrize(
    ("code", "says"),
    [("1:0", "exit code 1"), ("0:9", "signal 9"), ("137:0", "signal 9"), ("0:53", NO_OUTPUT)],
)
def test_a_verdict_says_what_ended_a_job(code, says):
    assert Job("1", "1", "", "FAILED", exit_code=code).verdict == f"FAILED ({says})"
    assert Job("1", "1", "", "OUT_OF_MEMORY", exit_code=code).verdict == "OUT_OF_MEMORY"


def test_lines_that_are_no_jobs_are_passed_over_and_a_name_may_hold_anything():
    text = "CLUSTER: dev\n\n" + QUEUE.replace("odd name", "odd | name\nin two lines")
    assert jobs.parse_squeue(text)[-1].name == "odd | name"
    assert len(jobs.parse_squeue(text)) == 7


def test_of_several_starts_the_last_one_counts_and_cancelled_tasks_are_told_apart():
    found = {job.array_id: job for job in jobs.parse_sacct(ACCOUNT)}
    assert list(found) == ["256640", *(f"256641_{task}" for task in (2, 3, 5, 7, 9, 0))]
    assert (found["256641_0"].state, found["256641_0"].restarts) == ("NODE_FAIL", 1)
    assert found["256641_0"].verdict == "NODE_FAIL (node 127.0.0.2)"
    assert found["256641_7"].verdict == "CANCELLED by 0"
    assert (found["256641_7"].id, found["256641_7"].node) == ("256641", "")


def test_every_word_but_those_for_an_end_is_of_a_job_that_may_run():
    for state in ("RUNNING", "PENDING", "SUSPENDED", "STAGE_OUT", "SPECIAL_EXIT", "A_WORD_OF_LATER"):
        assert Job("1", "1", "", state).live
    for state in ("COMPLETED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE"):
        assert not Job("1", "1", "", state).live


@pytest.fixture
def answers(monkeypatch):
    """A `Word` that hears these jobs from squeue and sacct, how often each was asked, and its clock."""
    says = {"squeue": QUEUE, "sacct": "", "asked": [], "now": 0.0, "takes": 0.0}

    def call(words, seconds):
        says["asked"].append(words[0])
        says["now"] += says["takes"]
        if says["squeue"] is None:
            raise Unreachable("silent")
        return type("Said", (), {"returncode": 0, "stdout": says.get(words[0], ""), "stderr": ""})()

    monkeypatch.setattr(scheduler, "_call", call)
    monkeypatch.setattr(scheduler, "configuration", lambda: says.get("configuration", {}))
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "dev")
    return says, Word(max_age=5.0, clock=lambda: says["now"])


def test_however_many_ask_squeue_and_sacct_are_called_once(answers):
    says, word = answers
    word.ask([*(f"99_{task}" for task in range(1250)), "256643"])
    for task in range(1250):
        assert word.job(f"99_{task}") is None
    assert word.job("256643").state == "PENDING"
    assert says["asked"] == ["scontrol", "squeue", "sacct"]
    says["now"] = 5.1
    word.job("256643")
    assert says["asked"][3:] == ["scontrol", "squeue"]


def test_silence_is_kept_for_as_long_as_it_took_and_more(answers):
    says, word = answers
    says["squeue"], says["takes"] = None, 9.0
    for _ in range(1000):
        with pytest.raises(Unreachable, match="silent"):
            word.job("1")
    assert len(says["asked"]) == 1
    assert word.runs("256645", 0, "dev") is None
    says["squeue"], says["now"] = QUEUE, 100.0
    assert word.runs("256645", 0, "dev") is True


@pytest.mark.parametrize(
    ("job", "restart", "cluster", "runs"),
    [
        ("256645", 0, "dev", True),
        ("256645", 0, "other", None),
        ("256645", 0, "", None),
        ("", 0, "dev", None),
        # A start that is not there yet, by what the controller says.
        ("256645", 1, "dev", None),
        # Requeued, and its processes are still being killed.
        ("256647", 0, "dev", True),
        ("256647", 1, "dev", True),
        ("256642", 0, "dev", False),
        ("256640", 0, "dev", False),
        ("256643", 0, "dev", False),
        ("111", 0, "dev", False),
    ],
)
def test_whether_one_start_of_a_job_runs(answers, job, restart, cluster, runs):
    assert answers[1].runs(job, restart, cluster) is runs


def test_a_job_that_was_requeued_has_left_its_earlier_start_behind(answers):
    says, word = answers
    says["squeue"] = QUEUE.replace("COMPLETING", "RUNNING")
    assert word.runs("256647", 0, "dev") is False
    assert word.runs("256647", 1, "dev") is True


def test_where_other_peoples_jobs_are_hidden_an_unknown_one_may_run(answers, monkeypatch):
    says, word = answers
    says["configuration"] = {"PrivateData": "accounts,jobs"}
    monkeypatch.setattr(scheduler.os, "getuid", lambda: 1000)
    assert word.runs("111", 0, "dev") is None


def test_what_accounting_holds_for_running_and_the_controller_does_not_know_is_not_live(answers):
    says, word = answers
    says["sacct"] = "5|5|RUNNING|None|n1|0:0|main|lost\n".replace("|", jobs.FIELD)
    job = word.job("5")
    assert (job.state, job.live) == ("UNKNOWN", False)
    assert "the controller does not know" in job.reason
    # squeue was asked a second time: the job might have been submitted in between.
    assert says["asked"] == ["scontrol", "squeue", "sacct", "scontrol", "squeue"]


def test_without_slurm_it_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("SLURM_CLUSTER_NAME", raising=False)
    assert not scheduler.available()
    assert scheduler.cluster_name() is None
    with pytest.raises(Unreachable, match="not installed"):
        Word().job("1")


@pytest.fixture(scope="module")
def ended(make_cluster):
    """Accounting -> a small cluster that forgets what ended, and a job there that has just failed.

    The controller looks for what is to be forgotten once a minute: both do so while other tests run.
    """
    found = {}
    for accounting in ("mariadb", "none"):
        one = make_cluster(ACCOUNTING=accounting, NODES=1, EXTRA="MinJobAge=2")
        found[accounting] = one, one.sbatch("exit 3")
        one.wait_state(found[accounting][1], "FAILED", seconds=20)
    return found


@pytest.fixture
def here(cluster: Cluster, ended, monkeypatch):
    """This process as one on the cluster's login node."""
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    scheduler.configuration.cache_clear()
    yield cluster
    scheduler.configuration.cache_clear()


def fresh(id):
    job = Word().job(id)
    assert job is not None
    return job


@pytest.mark.slurm
def test_a_real_job_from_the_queue_to_its_end(here):
    name = scheduler.cluster_name() or ""
    assert name
    assert scheduler.available()
    held = here.sbatch("sleep 100", "--hold", "--job-name=odd, name;")
    job = fresh(held)
    assert (job.state, job.reason, job.live, job.waiting) == ("PENDING", "JobHeldUser", True, True)
    assert job.name == "odd, name;"
    assert Word().runs(held, 0, name) is False
    here.run("scontrol", "release", held)
    here.wait_state(held, "RUNNING")
    job = fresh(held)
    assert job.node in here.nodes
    assert job.partition == "main"
    assert Word().runs(held, 0, name) is True
    scheduler.cancel([held])
    here.wait(lambda: not fresh(held).live, 20)
    assert fresh(held).state == "CANCELLED"
    assert Word().runs(held, 0, name) is False
    # Once more does no harm; neither does an id that nobody knows.
    scheduler.cancel([held, "4000000"])
    failed = here.sbatch("exit 3")
    here.wait_state(failed, "FAILED")
    assert fresh(failed).verdict == "FAILED (exit code 3)"


@pytest.mark.slurm
def test_a_requeued_job_has_left_its_start_behind_only_when_that_is_dead(here):
    name = scheduler.cluster_name() or ""
    job = here.sbatch("trap '' TERM; while :; do sleep 1; done", "--requeue")
    here.wait_state(job, "RUNNING")
    time.sleep(0.5)
    here.run("scontrol", "requeue", job)
    here.wait_state(job, "COMPLETING", seconds=5)
    word = Word()
    # Its processes ignore SIGTERM and live until SIGKILL comes.
    assert fresh(job).restarts == 1
    assert word.runs(job, 0, name) is True
    here.wait_state(job, "PENDING", "RUNNING")
    assert Word().runs(job, 0, name) is False
    here.wait_state(job, "RUNNING", seconds=30)
    assert Word().runs(job, 1, name) is True
    scheduler.cancel([job])


@pytest.mark.slurm
def test_tasks_of_an_array_by_either_number_and_by_name(here):
    array = here.sbatch("sleep 100", "--array=0-999%2", "--job-name=bench-test-array")
    here.wait(lambda: sum(row.state == "RUNNING" for row in here.squeue(array)) == 2)
    word, begun = Word(), time.perf_counter()
    word.ask(f"{array}_{task}" for task in range(1000))
    assert time.perf_counter() - begun < 2
    found = [word.job(f"{array}_{task}") for task in range(1000)]
    assert sum(job.state == "RUNNING" for job in found if job) == 2
    assert sum(job.waiting for job in found if job) == 998
    assert len(word.by_name("bench-test-arr")) == 1000
    running = next(job for job in found if job and job.state == "RUNNING")
    assert word.job(running.id) == running
    scheduler.cancel([array])
    here.wait(lambda: not any(job.live for job in Word().by_name("bench-test-array")), 20)
    assert fresh(f"{array}_7").state == "CANCELLED"


@pytest.mark.slurm
def test_the_job_of_a_dead_node_is_gone_and_comes_back(here):
    name = scheduler.cluster_name() or ""
    job = here.sbatch("sleep 100", "--requeue")
    here.wait_state(job, "RUNNING")
    node = fresh(job).node
    here.kill_slurmd(node)
    here.set_down(node)
    here.wait(lambda: fresh(job).restarts == 1, 20)
    assert fresh(job).live
    assert Word().runs(job, 0, name) is False
    scheduler.cancel([job])
    alone = here.sbatch("sleep 100", "--no-requeue")
    here.wait_state(alone, "RUNNING")
    other = fresh(alone).node
    here.set_down(other)
    here.wait(lambda: not fresh(alone).live, 20)
    assert fresh(alone).verdict == f"NODE_FAIL (node {other})"
    here.start_slurmd(node)
    here.start_slurmd(other)


@pytest.mark.slurm
def test_a_dead_controller_is_silence_at_once_and_never_an_answer(here):
    name = scheduler.cluster_name() or ""
    job = here.sbatch("sleep 100")
    here.wait_state(job, "RUNNING")
    here.kill_controller()
    begun = time.perf_counter()
    assert not scheduler.available()
    word = Word()
    assert word.runs(job, 0, name) is None
    with pytest.raises(Unreachable, match="does not answer"):
        word.job("1")
    with pytest.raises(Unreachable):
        scheduler.cancel([job])
    # squeue alone would take nine seconds.
    assert time.perf_counter() - begun < 3
    here.start_controller()
    assert scheduler.available()
    assert fresh(job).live
    scheduler.cancel([job])


@pytest.mark.slurm
@pytest.mark.parametrize("accounting", ["mariadb", "none"])
def test_what_the_controller_has_forgotten_accounting_knows_and_without_it_is_gone(
    ended, monkeypatch, accounting
):
    one, job = ended[accounting]
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, one.env[name])
    scheduler.configuration.cache_clear()
    one.wait(lambda: not one.squeue(job), 90, "forgotten")
    found = Word().job(job)
    if accounting == "none":
        assert found is None
    else:
        assert found is not None
        assert (found.state, found.exit_code) == ("FAILED", "3:0")
    assert Word().runs(job, 0, scheduler.cluster_name() or "") is False
    scheduler.configuration.cache_clear()
