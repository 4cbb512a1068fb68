"""The published numbers are the paper's, and stand only where the paper has them."""

import dataclasses
import math
import subprocess
import sys

import pytest

from bench.studies import STUDIES, Column, Row, Table
from models.registry import METHODS

TABLE_1 = STUDIES["patchvae"].table("1")


def number(method, dataset, freeze, pretrain_on=None, backbone="resnet9", **settings):
    return TABLE_1.published(
        method, dataset, freeze, pretrain_on=pretrain_on or dataset, backbone=backbone, settings=settings
    )


def test_table_1_has_ten_methods_three_data_sets_three_columns():
    assert len(TABLE_1.rows) == 10
    assert TABLE_1.datasets == ("cifar100", "indoor67", "places205")
    assert len(TABLE_1.columns) == 9
    assert all(n is not None for row in TABLE_1.rows for n in row.published)
    assert [row.method for row in TABLE_1.rows] == [name for name, m in METHODS.items() if not m.control]


def test_table_1_adds_up_to_the_papers():
    """Column sums taken from the paper's text."""
    sums = [
        math.fsum(n or 0.0 for n in column)
        for column in zip(*(r.published for r in TABLE_1.rows), strict=True)
    ]
    assert sums == pytest.approx(COLUMN_SUMS)


COLUMN_SUMS = [459.75, 419.57, 327.92, 236.27, 218.9, 164.86, 299.22, 263.4, 129.52]


def test_table_1_spot_checks():
    assert number("beta-vae", "cifar100", "conv1-5") == 28.57
    assert number("patchvae-gan-lw", "places205", "conv1-5") == 13.39
    assert number("bigan", "indoor67", "conv1-3") == 17.09


def test_a_number_stands_only_beside_its_own_cell():
    assert number("supervised", "cifar100", "conv1") is None
    assert number("supervised", "cifar100", "conv1", pretrain_on="imagenet") == 55.99
    assert number("patchvae", "cifar100", "conv1-5", pretrain_on="imagenet") is None
    assert number("patchvae", "cifar100", "conv1-5", backbone="resnet18") is None
    assert number("patchvae", "cifar100", "conv1-5", num_parts=8) is None
    assert number("patchvae", "miniplaces", "conv1-5") is None
    assert number("random", "cifar100", "conv1-5") is None


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="2 numbers for 1 columns"):
        dataclasses.replace(
            TABLE_1, columns=(Column("cifar100", "conv1"),), rows=(Row("x", "patchvae", (1.0, 2.0)),)
        )


def test_an_unknown_table_is_named():
    with pytest.raises(KeyError, match="no table '9'"):
        STUDIES["patchvae"].table("9")
    assert isinstance(TABLE_1, Table)


def test_importing_a_study_loads_neither_torch_nor_pandas():
    code = (
        "import sys, bench.studies; sys.exit(bool({'torch', 'pandas', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
