"""Where cells stand on a real cluster, and what cancelling does there. The jobs only sleep."""

import pytest

from bench.cli import main
from bench.dispatches import Pack
from bench.plan import Selection
from bench.scheduler import Word, cluster_name, configuration
from bench.status import survey
from tests.slurm_cluster import Cluster
from tests.synthetic_cells import Cells

pytestmark = pytest.mark.slurm


@pytest.fixture
def here(cluster: Cluster, monkeypatch):
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    configuration.cache_clear()
    yield cluster
    configuration.cache_clear()


def test_cells_are_what_their_jobs_are_and_cancelling_stops_them(here, tmp_path, capsys):
    made = Cells(tmp_path, Selection(("beta-vae", "patchvae", "bigan"), ("digits",), (0,), preset="smoke"))
    ids = [cell.id for cell in made.cells]
    held = here.sbatch("sleep 100", "--hold")
    running = here.sbatch("sleep 100", "--job-name=shared")
    failed = here.sbatch("kill -9 $$")
    gone, requeued = here.sbatch("sleep 100"), here.sbatch("sleep 100", "--requeue")
    lost = here.sbatch("sleep 100", "--job-name=bench-lost-answer", "--hold")
    here.wait(lambda: all(here.state(job) == "RUNNING" for job in (running, gone, requeued)), 30)
    here.run("scancel", gone)
    here.run("scontrol", "requeue", requeued)
    made.ended(made.cells[5], "interrupted", "preempted after step 3 of 10", "Preempted")
    jobs = {0: held, 1: running, 2: running, 3: failed, 4: gone, 5: requeued}
    packs = [
        Pack(n, "probe", tuple(ids[k] for k, one in jobs.items() if one == job), job=job, name=f"a{n}")
        for n, job in enumerate(dict.fromkeys(jobs.values()))
    ]
    packs.append(Pack(9, "probe", (ids[6],), name="bench-lost-answer"))
    dispatch = made.dispatch(packs, cluster=cluster_name() or "")
    dispatch.submitit_dir.mkdir()
    (dispatch.submitit_dir / f"{lost}_submitted.pkl").touch()
    here.wait_state(failed, "FAILED")
    here.wait_state(gone, "CANCELLED")
    here.wait(lambda: here.restarts(requeued) == 1, 20)

    found = survey(tmp_path, word=Word())
    assert found.silent == ""
    cells = list(found.cells.values())
    assert [one.state for one in cells[:8]] == [
        "queued", "queued", "queued", "lost", "stopped", "retrying", "queued", "new",
    ]  # fmt: skip
    assert cells[0].reason == "JobHeldUser"
    assert cells[2].reason == f"job {running} runs, 1 cell before it"
    assert "FAILED (signal 9)" in cells[3].reason
    assert "CANCELLED" in cells[4].reason
    assert "was requeued" in cells[5].reason
    assert cells[6].reason == "JobHeldUser"

    words = ["--results", str(tmp_path), "--yes"]
    assert main(["cancel", ids[1], *words]) == 0
    assert f"leave 1 cell out of job {running}" in capsys.readouterr().out
    assert here.state(running) == "RUNNING"
    assert main(["cancel", *words]) == 0
    assert "cancel 4 jobs with 4 cells" in capsys.readouterr().out
    here.wait(lambda: not any(here.state(job) in ("RUNNING", "PENDING") for job in (held, running, lost)), 20)
    assert not survey(tmp_path, word=Word()).of("running", "queued", "retrying")
