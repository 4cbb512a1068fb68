"""Claims: one owner at a time; a dead one's is freed, what cannot be known is held."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench import claims, scheduler
from bench.errors import RecordError
from bench.files import temporary
from tests.fake_trainer import anything


def test_a_claim_excludes_until_it_is_given_back(tmp_path):
    one = claims.claim(tmp_path)
    assert isinstance(one, claims.Claim)
    assert one.held()
    other = claims.claim(tmp_path)
    assert isinstance(other, claims.Owner)
    assert other.pid == os.getpid()
    assert claims.holder(tmp_path) == one.owner
    one.release()
    assert claims.holder(tmp_path) is None
    assert isinstance(claims.claim(tmp_path), claims.Claim)
    assert len(list(tmp_path.iterdir())) == 1


def dead_owner(**other):
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return replace(claims.Owner.me(), pid=process.pid, started="1", **other)


def write_claim(folder, owner):
    (folder / claims.NAME).write_text(json.dumps(asdict(owner)))


def test_the_claim_of_a_process_that_ended_is_freed(tmp_path):
    owner = dead_owner()
    write_claim(tmp_path, owner)
    assert claims.holder(tmp_path) is None
    one = claims.claim(tmp_path)
    assert isinstance(one, claims.Claim)
    assert one.freed == owner
    one.release()
    assert not list(tmp_path.iterdir())


def test_the_claim_of_a_reused_process_number_or_an_earlier_boot_is_freed(tmp_path):
    assert claims.Owner.me().machine
    for owner in (
        replace(claims.Owner.me(), started="1"),
        replace(claims.Owner.me(), boot_id="earlier"),
    ):
        write_claim(tmp_path, owner)
        one = claims.claim(tmp_path)
        assert isinstance(one, claims.Claim)
        one.release()


def test_what_cannot_be_known_is_held(tmp_path):
    # The last two are machines of the same name as this one, which share a file system with it.
    for owner in (
        dead_owner(host="elsewhere"),
        dead_owner(namespace="pid:[1]"),
        dead_owner(boot_id="other", machine="other"),
        dead_owner(boot_id="other", machine=""),
    ):
        write_claim(tmp_path, owner)
        assert owner.alive() is None
        assert claims.claim(tmp_path) == owner
    (tmp_path / claims.NAME).write_text("{")
    with pytest.raises(RecordError, match="--steal"):
        claims.claim(tmp_path)


def test_to_steal_takes_what_is_unknown_or_broken_and_never_what_lives(tmp_path):
    for name, text in (
        ("unknown", json.dumps(asdict(dead_owner(host="elsewhere")))),
        ("broken", '{"host": "a'),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / claims.NAME).write_text(text)
        one = claims.claim(folder, steal=True)
        assert isinstance(one, claims.Claim)
        assert one.held()
        assert claims.claim(folder, steal=True) == one.owner
    assert (tmp_path / "broken" / f"{claims.NAME}.broken-1").read_text() == '{"host": "a'


class Says:
    """A scheduler that says one thing."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def runs(self, job_id, restart, cluster):
        self.asked.append((job_id, restart, cluster))
        return self.answer


def test_a_job_elsewhere_is_as_alive_as_its_scheduler_says(tmp_path):
    owner = dead_owner(host="node7", job="120", restart=2, cluster="big")
    write_claim(tmp_path, owner)
    for answer in (True, None):
        assert claims.claim(tmp_path, anything(Says(answer))) == owner
    word = Says(False)
    one = claims.claim(tmp_path, anything(word))
    assert isinstance(one, claims.Claim)
    assert one.freed == owner
    assert word.asked == [("120", 2, "big")]


def test_a_job_that_was_requeued_has_no_claim_left_of_its_former_life(tmp_path, monkeypatch):
    # This very process, which lives: as the process of a node that was taken for dead may.
    zombie = replace(claims.Owner.me(), job="120", restart=0, cluster="big")
    write_claim(tmp_path, zombie)
    for name, value in (("JOB_ID", "120"), ("RESTART_COUNT", "1"), ("CLUSTER_NAME", "big")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    one = claims.claim(tmp_path)
    assert isinstance(one, claims.Claim)
    assert (one.freed, one.owner.restart) == (zombie, 1)
    assert not claims.Claim(tmp_path, zombie).held()
    # Another job, or the same number on another cluster, is nobody's successor.
    for other in (replace(zombie, job="121"), replace(zombie, cluster="small")):
        write_claim(tmp_path, other)
        assert claims.claim(tmp_path) == other


def test_a_claim_of_an_earlier_version_is_read(tmp_path):
    row = {k: v for k, v in asdict(claims.Owner.me()).items() if k not in ("job", "restart", "cluster")}
    (tmp_path / claims.NAME).write_text(json.dumps(row))
    assert anything(claims.holder(tmp_path)).job == ""


RACE = """
import multiprocessing, sys
from pathlib import Path
from bench import claims

def race(folder, barrier, wins):
    barrier.wait()
    got = claims.claim(folder)
    if isinstance(got, claims.Claim):
        with wins.get_lock():
            wins.value += 1
    # Alive and holding until everybody has tried.
    barrier.wait()
    assert isinstance(got, claims.Owner) or got.held()

context, count = multiprocessing.get_context("fork"), 6
for folder in map(Path, sys.argv[1:]):
    barrier, wins = context.Barrier(count), context.Value("i", 0)
    workers = [context.Process(target=race, args=(folder, barrier, wins)) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0
    assert wins.value == 1, wins.value
"""


def test_of_many_that_claim_at_once_one_wins(tmp_path):
    folders = [tmp_path / f"{left}{n}" for left in ("nobody", "dead", "dead after dead") for n in range(8)]
    for folder in folders:
        folder.mkdir()
        if not folder.name.startswith("nobody"):
            write_claim(folder, replace(dead_owner(), token="first"))
        if folder.name.startswith("dead after"):
            first = (folder / claims.NAME).read_text()
            (folder / f"{claims.NAME}.after-first").write_text(first.replace('"first"', '"second"'))
    subprocess.run([sys.executable, "-c", RACE, *map(str, folders)], check=True, timeout=60)


def test_a_killed_process_leaves_a_claim_that_is_free(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from bench import claims;"
        "claims.claim(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    process = anything(
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    )
    assert process.stdout.readline() == "held\n"
    holder = anything(claims.holder(tmp_path))
    assert (holder.pid, holder.host) == (process.pid, socket.gethostname())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert claims.holder(tmp_path) is None


def test_a_word_older_than_the_claim_frees_nothing(tmp_path, monkeypatch):
    owner = dead_owner(host="node7", job="120", cluster="big")
    write_claim(tmp_path, owner)
    monkeypatch.setattr(claims, "_scheduler", lambda: Says(False))
    monkeypatch.setattr(scheduler, "Word", lambda max_age: Says(True))
    assert claims.claim(tmp_path) == owner


HIDDEN = """
import json, sys
from pathlib import Path
from bench.claims import Owner
from bench.files import left_behind
print(Owner(**json.loads(sys.argv[1])).alive(), left_behind(Path(sys.argv[2])))
"""


@pytest.mark.parametrize("hidepid", [1, 2])
def test_what_a_site_hides_of_other_peoples_processes_is_not_taken_for_dead(tmp_path, hidepid):
    told = [json.dumps(asdict(claims.Owner.me())), str(temporary(tmp_path / "claim.json"))]
    hide = f"mount -t proc -o hidepid={hidepid} proc /proc || exit 77"
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            f'{hide}; exec {nobody} "$@"',
            "sh",
            sys.executable,
            "-c",
            HIDDEN,
            *told,
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    if done.returncode in (77, 1) and not done.stdout and "Traceback" not in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    assert done.stdout == "None False\n", done.stderr
