"""`bench data prepare`: what was done is said, what is done is not done again, what is wrong is one line."""

import json

import pytest

from bench.cli import main
from bench.data import decode
from tests.test_commands_data import tree  # noqa: F401

NAME = "folder:own@8"


@pytest.mark.usefixtures("tree")
def test_it_says_what_was_prepared_and_decodes_nothing_twice(capsys, monkeypatch):
    assert main(["data", "prepare", NAME, "--json"]) == 0
    out, err = capsys.readouterr()
    (fact,) = json.loads(out)
    assert "decoding 8 files" in err
    assert (fact["decoded"], fact["train"], fact["test"], fact["images_a_class"]) == (8, 4, 4, [2, 2])
    monkeypatch.setattr(decode, "read_image", lambda *_: pytest.fail("an image was decoded"))
    assert main(["data", "prepare", NAME]) == 0
    out, err = capsys.readouterr()
    assert f"{NAME}: nothing to decode" in out
    assert fact["fingerprint"] in out
    assert fact["path"] in out
    assert err == ""


def test_what_was_left_is_gone_on_with_and_told(tree, capsys, monkeypatch):  # noqa: F811
    read, seen = decode.read_image, []

    def interrupted(path, size):
        if "test" in path.parts:
            raise KeyboardInterrupt
        seen.append(path)
        return read(path, size)

    with monkeypatch.context() as patch:
        patch.setattr(decode, "read_image", interrupted)
        assert main(["data", "prepare", NAME]) == 130
    capsys.readouterr()
    assert len(list((tree / ".bench").glob(".partial-*"))) == 1
    assert main(["data", "prepare", NAME, "--json"]) == 0
    out, err = capsys.readouterr()
    assert "decoding 8 files from file 4 on" in err
    assert json.loads(out)[0]["decoded"] == 4


def test_corrupt_files_are_one_line_or_are_left_out_and_counted(tree, capsys):  # noqa: F811
    (tree / "own/train/cat/0.png").write_text("no image")
    assert main(["data", "prepare", NAME]) == 2
    assert "1 corrupt image" in capsys.readouterr().err.splitlines()[-1]
    assert main(["data", "prepare", NAME, "--skip-corrupt"]) == 0
    out = capsys.readouterr().out
    assert "1 left out, the first is train/cat/0.png" in out
    assert "3 train, 4 test" in out
    assert "1 to 2 training images each" in out


def test_a_name_that_is_unknown_is_told_before_anything_is_decoded(tree, capsys):  # noqa: F811
    assert main(["data", "prepare", NAME, "digit"]) == 2
    assert "'digit'" in capsys.readouterr().err
    assert not (tree / ".bench").exists()
