"""Every row against a baseline: its own paired interval, Holm over the whole table."""

import numpy as np
import pytest

from bench import stats


def paired(values):
    return {(seed, 0): float(v) for seed, v in enumerate(values)}


BETA = [0.30, 0.34, 0.31]
TABLE = {
    "conv1": {
        "beta-vae": paired(BETA),
        "patchvae": paired([0.36, 0.39, 0.365]),
        "bigan": paired([0.29, 0.35, 0.3]),
    },
    "conv1-5": {"beta-vae": paired(BETA), "patchvae": paired([0.31, 0.36, 0.325])},
}


def test_each_difference_is_the_paired_one_and_holm_runs_over_all_columns():
    found = stats.against_baseline(TABLE, "beta-vae")
    assert {column: list(rows) for column, rows in found.items()} == {
        "conv1": ["patchvae", "bigan"],
        "conv1-5": ["patchvae"],
    }
    p = []
    for column, rows in found.items():
        for row, d in rows.items():
            expected = stats.paired_difference(TABLE[column][row], TABLE[column]["beta-vae"])
            assert expected is not None
            assert (d.difference, d.half, d.p) == pytest.approx(
                (expected.estimate.mean, expected.estimate.half, expected.p)
            )
            assert (d.n, d.by_image) == (3, False)
            p.append(d.p)
    adjusted = [d.p_adjusted for rows in found.values() for d in rows.values()]
    assert adjusted == pytest.approx(stats.holm(p))
    assert adjusted != pytest.approx(p)


def test_predictions_add_the_test_images():
    rng = np.random.default_rng(0)
    correct = {
        row: {(s, 0): rng.random(500) < share for s in range(3)} for row, share in (("a", 0.3), ("b", 0.5))
    }
    scores = {row: {pair: float(c.mean()) for pair, c in own.items()} for row, own in correct.items()}
    (found,) = stats.against_baseline({"c": scores}, "a", {"c": correct})["c"].values()
    whole = stats.claim(correct["b"], correct["a"])
    assert whole is not None
    assert found.by_image
    assert (found.difference, found.half, found.p) == (whole.difference, whole.half, whole.p)


def test_gaps_are_left_out_and_one_seed_has_no_interval():
    table = {
        "x": {"a": paired(BETA), "b": {(7, 0): 0.3}, "c": {}, "d": paired([0.4])},
        "y": {"b": paired(BETA)},
    }
    found = stats.against_baseline(table, "a")
    assert list(found["x"]) == ["d"]
    assert found["y"] == {}
    only = found["x"]["d"]
    assert (only.n, only.half, only.p, only.p_adjusted) == (1, None, None, None)


def test_an_unknown_baseline_is_named():
    with pytest.raises(ValueError, match="no row 'gamma' in this table; it has beta-vae, patchvae, bigan"):
        stats.against_baseline(TABLE, "gamma")
