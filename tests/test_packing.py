import time

import pytest

from bench.launch.slurm.packing import Awaited, draft_packs
from bench.plan import Selection, make_plan

LONG = {"pretrain": 1000.0, "probe": 1000.0}


def plan(seeds=2, methods=("patchvae", "random")):
    return make_plan(Selection(methods, ("digits",), tuple(range(seeds)), probes=("conv1", "conv1-5")))


def ids(cells):
    return [cell.id for cell in cells]


def draft(plan, todo=None, limits=LONG, each=100.0, **more):
    todo = {cell.id for cell in plan.cells} if todo is None else set(todo)
    return draft_packs(plan.groups, todo, lambda _: each, limits, **more)


def computed(drafts):
    return [cell for d in drafts for cell in d.pack.cells]


def test_a_pretraining_and_its_probes_travel_together_and_every_cell_once():
    asked = plan()
    drafts = draft(asked, limits={})
    assert [list(d.pack.cells) for d in drafts] == [ids((g.pretrain, *g.dependents)) for g in asked.groups]
    assert [d.pack.number for d in drafts] == [0, 1, 2, 3]
    assert not any(d.pack.needs or d.pack.after or d.parent for d in drafts)


def test_only_what_trains_asks_for_a_pretrainings_resources():
    assert [d.pack.resources for d in draft(plan(1), limits={})] == ["pretrain", "probe"]


def test_short_groups_are_packed_up_to_the_limit_early_seeds_first():
    asked = plan(5, ("patchvae",))
    drafts = draft(asked, limits={"pretrain": 700.0})
    assert [d.pack.seconds for d in drafts] == [600.0, 600.0, 300.0]
    assert computed(drafts) == ids(asked.cells)


def test_a_group_longer_than_the_limit_is_a_job_of_its_own():
    assert [d.pack.seconds for d in draft(plan(2, ("patchvae",)), limits={"pretrain": 200.0})] == [
        300.0,
        300.0,
    ]


def test_what_is_done_or_queued_is_not_packed_again():
    asked = plan(1)
    group = asked.groups[0]
    drafts = draft(asked, ids(group.dependents[:1]))
    assert computed(drafts) == ids(group.dependents[:1])
    assert drafts[0].pack.resources == "probe"
    # What the job needs to know of the pretraining is there all the same.
    assert drafts[0].groups[0].pretrain == group.pretrain
    assert draft(asked, []) == []


def test_probes_of_their_own_wait_for_a_job_that_holds_their_pretraining_alone():
    asked = plan(3)
    drafts = draft(asked, split_probes=True)
    trained = [g for g in asked.groups if g.pretrain.method == "patchvae"]
    pairs = [(d.parent, d) for d in drafts if d.parent is not None]
    assert [list(parent.pack.cells) for parent, _ in pairs] == [[g.pretrain.id] for g in trained]
    assert [list(child.pack.cells) for _, child in pairs] == [ids(g.dependents) for g in trained]
    assert [child.pack.needs for _, child in pairs] == [(g.pretrain.id,) for g in trained]
    assert all(parent.pack.number < child.pack.number for parent, child in pairs)
    assert sorted(computed(drafts)) == sorted(ids(asked.cells))


def test_a_pretraining_that_nobody_waits_for_is_packed_although_probes_are_split():
    asked = plan(2, ("patchvae",))
    drafts = draft(asked, ids(g.pretrain for g in asked.groups), split_probes=True)
    assert [len(d.pack.cells) for d in drafts] == [2]


@pytest.mark.parametrize(("alone", "condition"), [(True, "afterok"), (False, "afterany")])
def test_probes_of_a_queued_pretraining_wait_for_its_job(alone, condition):
    asked = plan(1, ("patchvae",))
    group = asked.groups[0]
    (only,) = draft(asked, ids(group.dependents), awaited={group.pretrain.id: Awaited("77_3", alone)})
    assert (only.pack.after, only.pack.needs, only.condition) == (("77_3",), (group.pretrain.id,), condition)
    assert only.pack.resources == "probe"


def test_probes_that_wait_are_not_packed_with_those_that_need_not():
    asked = plan(3, ("patchvae",))
    probes = [cell.id for group in asked.groups for cell in group.dependents]
    first = asked.groups[0].pretrain.id
    drafts = draft(asked, probes, awaited={first: Awaited("77_3", True)})
    assert [(d.pack.after, len(d.pack.cells)) for d in drafts] == [(("77_3",), 2), ((), 4)]


def test_5000_cells_are_planned_and_packed_in_five_seconds():
    begun = time.process_time()
    asked = plan(834)
    drafts = draft(asked, limits={"pretrain": 2000.0, "probe": 2000.0})
    assert time.process_time() - begun < 5
    assert len(computed(drafts)) == len(asked) >= 5000


def test_evaluations_travel_and_are_split_off_as_probes_are():
    judged = make_plan(
        Selection(
            ("beta-vae",), ("digits",), (0,), probes=("conv1",), evaluations=("features", "reconstruction")
        )
    )
    (group,) = judged.groups
    (only,) = draft(judged)
    assert list(only.pack.cells) == ids(group.cells)
    first, second = draft(judged, split_probes=True)
    assert (first.pack.resources, second.pack.resources) == ("pretrain", "probe")
    assert list(second.pack.cells) == ids(group.dependents)
    (late,) = draft(judged, ids(group.dependents[1:]))
    assert late.pack.resources == "probe"
