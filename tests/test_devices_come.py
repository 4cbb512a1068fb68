"""Before ranks form a group, rank 0 knows that all have come: nobody waits in one for a rank that has failed."""

from types import SimpleNamespace

import pytest
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]

from bench.devices import calls, follow
from bench.devices.calls import Call
from bench.devices.team import Images, Team
from bench.errors import Interrupted, RankFailed, RankLost
from bench.launch.control import RunOptions, Stop
from bench.launch.distributed import Place
from tests.fake_trainer import anything

OPTIONS = RunOptions()
CALL = Call({"seed": 1}, "digits", "f" * 64, 8, None, False, "gloo", OPTIONS)


@pytest.fixture
def groups(monkeypatch):
    """Cells whose group somebody has joined."""
    joined = []

    def group(_, number, *__):
        joined.append(number)
        raise RankLost("here nobody else is")

    monkeypatch.setattr(calls, "group", group)
    return joined


@pytest.fixture
def team(monkeypatch):
    """Rank 0 of three, whose others are there and have not come yet."""
    team = Team(Images(None, False, {"digits": 8}), "cpu", size=3)
    team._store = HashStore()
    team._facts = {"backend": "gloo"}
    monkeypatch.setattr(team, "_start_missing", lambda _: None)
    return team


def begin(team, stop=None):
    with team.working({"seed": 1}, "digits", "f" * 64, OPTIONS, stop or Stop()):
        pass


def come(store):
    images = SimpleNamespace(load=lambda _: SimpleNamespace(fingerprint="f" * 64))
    follow._train(store, Place(1, 1, 3, "127.0.0.1", 0), 1, CALL, anything(images))


def test_where_one_rank_fails_the_others_are_sent_to_the_next_cell(team, groups):
    calls.say_failed(team._store, 1, 2, OSError("no such file"))
    with pytest.raises(RankFailed, match="no such file"):
        begin(team)
    come(team._store)
    assert team._store.check(["came 1 1"])
    assert groups == []


def test_where_one_rank_has_died_the_others_are_sent_to_the_next_cell(team, groups):
    team._dead[2] = "rank 2 of 3 (process 7) was killed by SIGKILL"
    with pytest.raises(RankLost, match="SIGKILL"):
        begin(team)
    come(team._store)
    assert groups == []


def test_ranks_join_a_group_where_all_have_come(team, groups):
    for rank in (1, 2):
        team._store.set(f"came 1 {rank}", "")
    with pytest.raises(RankLost):
        begin(team)
    come(team._store)
    assert groups == [1, 1]


def test_who_waits_for_other_ranks_stops_when_asked(team, groups):
    stop = Stop()
    stop.request()
    with pytest.raises(Interrupted):
        begin(team, stop)
    come(team._store)
    assert groups == []
