"""The search for near-equal images is held against what people said of pairs."""

import json

import numpy as np
import pytest

from bench.cli import main
from bench.data.judged import read_judgments
from bench.errors import DataError
from tests.photographs import photographs, recompressed, save_tree

IMAGES = photographs(40, seed=3)


def test_found_and_missed_images_are_counted_by_their_judgment(tmp_path, capsys):
    test = np.concatenate([IMAGES[:1], recompressed(IMAGES[1:3]), IMAGES[30:34]])
    save_tree(
        tmp_path / "own",
        {"train": {"cat": IMAGES[:10], "dog": IMAGES[10:20]}, "test": {"cat": test, "dog": test[6:]}},
    )
    # Image 1 is called very similar, 5 near, though nothing in training is like it; of 2 nobody spoke.
    (tmp_path / "judged.csv").write_text(
        "TestID,TrainID,Distance,Judgment\n0,0,0.0,0\n1,1,0.1,2\n5,7,0.2,1\n"
    )
    words = [
        "data",
        "verify",
        "folder:own@32",
        "--data",
        str(tmp_path),
        "--judged",
        str(tmp_path / "judged.csv"),
    ]
    assert main([*words, "--json"]) == 0
    rows = {(row["distance"], row["agreement"]): row for row in json.loads(capsys.readouterr().out)}
    row = rows[8, 0.6]
    assert (row["found"], row["judged"]) == (3, [1, 0, 1])
    assert row["same_shot"] == pytest.approx(1 / 3)
    assert row["recall"] == 0.5
    assert main(words) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "in force" in line]
    assert line.split()[:3] == ["8", "0.6", "3"]


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "TestID,Judgment\n1,7\n", "TestID,Judgment\nx,1\n", ""])
def test_what_is_no_list_of_judgments_is_refused(tmp_path, content):
    (tmp_path / "judged.csv").write_text(content)
    with pytest.raises(DataError):
        read_judgments(tmp_path / "judged.csv")
