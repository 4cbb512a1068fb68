"""A study of somebody's own: a Python file of the same form, refused in one line when it is not one."""

import pytest

from bench.errors import UsageError
from bench.studies import STUDIES, load_study

OWN = """
from bench.studies import Claim, Column, Contrast, Row, Study, Table

SIZES = Table(
    name="1",
    title="Does a larger latent help?",
    source="our own question",
    backbone="resnet9",
    rule="last",
    schedule={},
    columns=(Column("digits", "conv1-5"),),
    rows=tuple(Row(f"{n} latents", "beta-vae", settings={"latent_dim": n}) for n in (8, 96)),
    claims=(
        Claim("more-latents-help", "96 latents are better than 8.", "", "", (Contrast("96 latents", "8 latents"),)),
    ),
)
STUDY = Study("latents", "Latents of β-VAE", "ours", "", (SIZES,))
"""


@pytest.fixture
def write(tmp_path):
    def now(text):
        path = tmp_path / "own.py"
        path.write_text(text)
        return path

    return now


def test_a_study_is_known_by_its_name_or_by_its_file(write):
    assert load_study("patchvae") is STUDIES["patchvae"]
    study = load_study(write(OWN))
    assert study.name == "latents"
    assert study.table("1").claims[0].name == "more-latents-help"


def test_a_file_in_the_home_folder_is_found(write, monkeypatch):
    path = write(OWN)
    monkeypatch.setenv("HOME", str(path.parent))
    assert load_study("~/own.py").name == "latents"


def test_reading_a_study_leaves_nothing_beside_it(write):
    path = write(OWN)
    load_study(path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not define STUDY; it must be a bench.studies.Study"),
        ("STUDY = 3", "defines STUDY as a int"),
        ("x = 1\nx / 0", "line 2: ZeroDivisionError: division by zero"),
        ("x = 1\ndef (", "line 2: SyntaxError"),
        ("raise SystemExit(7)", "line 1: SystemExit: 7"),
        ("import no_such_package", "line 1: ModuleNotFoundError"),
        (
            OWN.replace('"8 latents"', '"9 latents"'),
            "ValueError: table 1, claim more-latents-help: no row '9 latents'",
        ),
        (OWN.replace('"conv1-5"', "None"), "ValueError: a column of top1 needs a freeze point"),
    ],
)
def test_a_file_that_is_no_study_says_what_and_where_it_is_wrong(write, text, words):
    with pytest.raises(UsageError, match=r"own\.py") as error:
        load_study(write(text))
    assert words in str(error.value)
    assert error.value.exit_code == 2


def test_a_wrong_name_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="unknown study 'patchva': did you mean 'patchvae'"):
        load_study("patchva")
    for path in (tmp_path / "none.py", tmp_path):
        with pytest.raises(UsageError, match="study"):
            load_study(path)
