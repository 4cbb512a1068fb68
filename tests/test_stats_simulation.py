"""The simulations that `bench stats check` runs at length: what is promised is kept, and a liar is found out."""

import math

import numpy as np
import pytest

from bench import stats
from bench.stats import Spread
from bench.stats.distributions import t_p_value
from bench.stats.simulation import check, coverage, findings, plans, tables, verdicts
from bench.stats.simulation.synthetic import Setting, draw, draw_column, image_variance


def broken(found):
    return [
        f"{f.setting} {f.measure}: {f.value:.3f}, promised {f.promise}" for f in found if f.kept == "BROKEN"
    ]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_a_synthetic_study_has_the_spread_over_seeds_that_it_states(shared):
    """On so many images that they hardly add to it: of each method, and of the paired difference."""
    setting = Setting(0.02, seeds=400, images=2000, shared=shared)
    column = draw_column(rng(), setting, {"a": 0.3, "b": 0.3})
    a, b = (np.array(list(column.scores[row].values())) for row in "ab")
    noise = 0.3 * 0.7 / setting.images
    assert a.mean() == pytest.approx(0.3, abs=3 * 0.03)
    error = 3.5 * math.sqrt(2 / 400)
    assert np.var(a, ddof=1) == pytest.approx(0.02**2 + noise, rel=error, abs=noise)
    assert np.var(a - b, ddof=1) == pytest.approx(2 * (1 - shared) * 0.02**2, rel=error, abs=2 * noise)


def test_a_synthetic_study_looks_as_it_is_described():
    setting = Setting(0.0, seeds=2, images=200_000)
    column = draw_column(rng(), setting, {"a": 0.3, "b": 0.3})
    one, other = (column.correct["a"][s, 0] for s in range(2))
    assert np.mean(one) == pytest.approx(0.3, abs=0.005)
    assert np.mean(one == other) == pytest.approx(0.82, abs=0.01)
    assert np.mean(one == column.correct["b"][0, 0]) == pytest.approx(0.71, abs=0.01)
    found = stats.variance_components(column.correct["a"], column.correct["b"])
    assert found is not None
    assert 100 * math.sqrt(found.test_image / 1340) == pytest.approx(0.9, abs=0.05)
    own = stats.variance_components(column.correct["a"])
    assert own is not None
    assert own.test_image == pytest.approx(image_variance(0.3, setting), rel=0.02)


def test_one_draw_serves_every_spread():
    latent = draw(rng(), Setting(0.0, 3, 500), columns=2, rows=2)
    still, moved = (latent.columns(Setting(sd, 3, 500), [{"a": 0.3, "b": 0.3}] * 2)[1] for sd in (0.0, 0.1))
    assert still.scores["a"] != moved.scores["a"]
    changed = np.mean([still.correct["a"][s, 0] != moved.correct["a"][s, 0] for s in range(3)])
    assert 0 < changed < 0.3
    with pytest.raises(ValueError, match="spread over seeds is too large"):
        latent.columns(Setting(5.0, 3, 500), [{"a": 0.3, "b": 0.3}] * 2)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_intervals_cover_what_they_say(seeds):
    assert not broken(coverage.same_images(rng(seeds), 800, seeds))
    found = coverage.other_images(rng(seeds), 300, seeds, 400)
    assert not broken(found)
    mean, difference, claim = (f.value for f in found)
    assert max(mean, difference) < claim


def test_wilson_covers_what_it_says():
    assert not broken([f for a in (0.02, 0.3) for f in coverage.one_accuracy(rng(), 2000, 1340, a)])


@pytest.mark.parametrize("probes", [1, 2])
def test_components_are_those_that_were_drawn(probes):
    found = coverage.components(rng(probes), 100, 5, probes)
    assert len(found) == 3 + 2 * (probes - 1)
    assert not broken(found)


def test_equals_are_seldom_told_apart():
    assert not broken(verdicts.marking(rng(), 300, 6, 3))
    assert not broken(verdicts.baseline(rng(), 60, Setting(0.01, 3, 400)))
    assert not broken(verdicts.at_the_margin(rng(), 300, Setting(0.005, 5, 1340)))


@pytest.mark.parametrize(("seeds", "images"), [(2, 60), (3, 1340)])
def test_the_short_way_to_a_tables_verdicts_is_that_of_judge(seeds, images):
    random = rng(seeds)
    for sds in (0, 2, 6):
        setting = Setting(0.02, seeds, images, 0.5)
        latents = draw(random, setting, 2, 4), draw(random, setting, 1, 4)
        short, alone = tables.judged(latents, setting, sds)
        data = tables.data_of(latents, setting, sds)
        long = stats.judge(data)
        assert [(r.name, r.verdict, r.p, r.p_adjusted) for r in short] == [
            (r.name, r.verdict, r.p, r.p_adjusted) for r in long
        ]
        assert (alone.verdict, alone.p_adjusted) == (stats.judge(data[:1])[0].verdict, long[0].p)
        for ours, theirs in zip(short, long, strict=True):
            assert [(c.difference, c.p) for c in ours.contrasts] == [
                (c.difference, c.p) for c in theirs.contrasts
            ]


@pytest.mark.parametrize(("seeds", "images"), [(3, 1340), (5, 4000)])
def test_claims_of_equals_are_seldom_decided_and_true_ones_found(seeds, images):
    found = tables.tables(rng(seeds), 200, seeds, images, seed_sds=(0.02,), shared=(0.5,))
    assert not broken(found)
    (power,) = (f.value for f in found if f.measure == "power: alone")
    assert power > {3: 0.1, 5: 0.5}[seeds]


def test_as_many_seeds_as_are_asked_for_do():
    enough, *guesses = plans.plans(rng(), 200, Setting(0.01, 3, 3000), 0.03)
    assert enough.sense == "at least"
    assert enough.kept == "kept"
    assert sum(g.value for g in guesses) > 0
    (hopeless, *_) = plans.plans(rng(), 50, Setting(0.01, 3, 1340), 0.015)
    assert hopeless.sense == "at most"
    assert hopeless.kept in ("kept", "conservative")


def test_a_statistic_that_promises_too_much_is_found_out(monkeypatch):
    """Satterthwaite's degrees of freedom, at two seeds."""

    def satterthwaite(self, difference):
        df = self.error**4 / (self.seed_variance**2 / self.seed_df + self.test_variance**2 / self.test_df)
        return t_p_value(difference / self.error, df)

    monkeypatch.setattr(Spread, "p_value", satterthwaite)
    found = verdicts.baseline(rng(), 100, Setting(0.02, 2, 1340))
    assert broken(found)


def test_a_promise_is_broken_where_an_exact_interval_excludes_it():
    from statsmodels.stats.proportion import proportion_confint

    for hits, trials in ((0, 20), (3, 20), (60, 2000), (20, 20)):
        expected = proportion_confint(hits, trials, method="beta")
        low, high = findings.binomial_interval(hits, trials)
        assert (low, high) == pytest.approx(
            [0 if hits == 0 else expected[0], 1 if hits == trials else expected[1]]
        )

    def kept(hits, sense, promise=0.05):
        return findings.share("x", {}, "y", hits, 2000, sense, promise).kept

    assert [kept(h, "at most") for h in (50, 110, 150)] == ["conservative", "kept", "BROKEN"]
    assert [kept(2000 - h, "at least", 0.95) for h in (50, 110, 150)] == ["conservative", "kept", "BROKEN"]
    assert [kept(h, "about") for h in (50, 100, 150)] == ["BROKEN", "kept", "BROKEN"]
    assert findings.share("x", {}, "y", 500, 2000).kept == ""


def test_a_task_finds_the_same_whoever_runs_it():
    names = [task.name for task in check.tasks()]
    assert len(set(names)) == len(names)
    task = next(task for task in check.tasks() if task.name.startswith("same_images"))
    assert task(50, 1) == task(50, 1)
    assert task(50, 1) != task(50, 2)


@pytest.mark.slow
def test_every_promise_is_kept_at_length():
    assert not broken(check.run(studies=300, seed=1, jobs=2))
