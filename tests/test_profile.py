import json

import pytest

from bench.errors import UsageError
from bench.launch.slurm.parameters import types_of_parameters
from bench.launch.slurm.profile import DEFAULTS, from_facts, load_profile


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """No profile of this machine is found by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def profile(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text)
    return load_profile(str(tmp_path / "mine.toml"))


def refused(tmp_path, text):
    with pytest.raises(UsageError) as error:
        profile(tmp_path, text)
    line = str(error.value)
    assert "\n" not in line
    assert str(tmp_path / "mine.toml") in line
    return line


def test_a_profile_may_be_empty(tmp_path):
    empty = profile(tmp_path, "")
    assert empty.classes == load_profile(None).classes
    assert {k: empty.classes["pretrain"][k] for k in DEFAULTS} == dict(DEFAULTS)


def test_a_class_adds_to_all_and_wins_over_it(tmp_path):
    mine = profile(
        tmp_path,
        '[all]\nslurm_partition = "a"\nmem_gb = 8\n[probe]\nslurm_partition = "b"\ncpus_per_task = 2',
    )
    assert mine.classes["pretrain"]["slurm_partition"] == "a"
    assert mine.classes["probe"]["slurm_partition"] == "b"
    assert mine.classes["probe"]["mem_gb"] == 8
    assert (mine.threads("pretrain"), mine.threads("probe")) == (4, 2)


def test_two_names_of_submitit_for_one_thing_are_one(tmp_path):
    mine = profile(tmp_path, "[all]\nslurm_cpus_per_task = 3\nslurm_time = 77")
    assert mine.classes["probe"]["cpus_per_task"] == 3
    assert mine.classes["probe"]["timeout_min"] == 77
    assert not {"slurm_time", "slurm_cpus_per_task"} & set(mine.classes["probe"])


def test_every_parameter_that_is_allowed_is_one_that_submitit_takes(tmp_path, monkeypatch):
    from submitit import AutoExecutor

    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    values = {int: 1, float: 1.0, str: "x", bool: True}
    executor = AutoExecutor(tmp_path / "logs", cluster="slurm")
    for name, hint in types_of_parameters().items():
        if hint in values and name not in ("slurm_max_num_timeout", "slurm_num_gpus"):
            executor.update_parameters(**{name: values[hint]})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[all]\nslurm_partiton = "a"', "did you mean 'slurm_partition'"),
        ('[all]\npartition = "a"', "did you mean 'slurm_partition'"),
        ("[pretrian]", "did you mean 'pretrain'"),
        ("[bench]\npack_minute = 3", "did you mean 'pack_minutes'"),
        ("pretrain = 3", "write a table"),
        ("[all]\ntimeout_min = 1.5", "timeout_min = 1.5: it must be a whole number"),
        ("[all]\ntimeout_min = true", "it must be a whole number"),
        ("[all]\nslurm_partition = 3", "it must be a text"),
        ('[all]\nslurm_setup = "x"', "it must be a list of texts"),
        ("[all]\nslurm_additional_parameters = 3", "it must be a table"),
        ("[all]\ncpus_per_task = 0", "at least 1"),
        ("[all]\ngpus_per_node = -1", "must not be negative"),
        ("[all]\ntimeout_min = 2\nslurm_signal_delay_s = 120", "not less than timeout_min"),
        ("[probe]\ntasks_per_node = 2", "[probe]: tasks_per_node = 2: a probe is one process"),
        ("[all]\ntasks_per_node = 2", "[all], for probe: tasks_per_node = 2: a probe is one process"),
        ("[all]\ntimeout_min = 2", "[all], for pretrain: slurm_signal_delay_s = 120 is not less"),
        ("[all]\ntimeout_min = 5\n[probe]\nslurm_signal_delay_s = 400", "[probe]: slurm_signal_delay_s"),
        ("[all]\nslurm_cpus_per_gpu = 2", "[all], for pretrain: slurm_cpus_per_gpu needs"),
        ("[bench]\nmax_queued = -1", "not negative"),
        ("[bench]\nsplit_probes = 1", "true or false"),
        ('[bench]\nsetup = "x"', "list of lines"),
        ('[bench]\nenvironment = {"A B" = "x"}', "write NAME"),
        ('[bench]\nsubmit_wait = "soon"', "submit_wait"),
        ("[all", "is not TOML"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_file(tmp_path, text, says):
    assert says in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[all]\nslurm_use_srun = false", "breaks requeueing: without srun"),
        ("[all]\nslurm_additional_parameters = {no-requeue = 1}", "lost instead of going on"),
        ("[all]\nslurm_additional_parameters = {no_requeue = true}", "lost instead of going on"),
        ("[all]\nslurm_additional_parameters = {requeue = true}", "always on"),
        ('[all]\nslurm_additional_parameters = {signal = "TERM@60"}', "another signal"),
        ('[bench]\nenvironment = {SUBMITIT_PREEMPT_SIGNAL = "TERM"}', "breaks requeueing"),
        ('[bench]\nsetup = ["export SUBMITIT_PREEMPT_SIGNAL=TERM"]', "breaks requeueing"),
        ('[all]\nslurm_dependency = "afterok:1"', "is set by bench"),
        ('[all]\nname = "mine"', "is set by bench"),
        ('[all]\nslurm_job_name = "mine"', "is set by bench"),
    ],
)
def test_what_breaks_requeueing_is_refused_with_its_reason(tmp_path, text, says):
    assert says in refused(tmp_path, text)


def test_a_profile_is_found_by_name_and_an_unknown_one_names_those_there_are(tmp_path):
    folder = tmp_path / "config" / "bench" / "profiles"
    folder.mkdir(parents=True)
    (folder / "owncluster.toml").write_text("[all]\nmem_gb = 5")
    assert load_profile("owncluster").classes["probe"]["mem_gb"] == 5
    with pytest.raises(UsageError, match="did you mean 'owncluster'"):
        load_profile("owncluser")
    with pytest.raises(UsageError, match=r"nowhere\.toml is not there"):
        load_profile("./nowhere.toml")


def test_the_profile_named_default_is_taken_when_none_is_asked_for(tmp_path):
    (tmp_path / "default.toml").write_text("[all]\nmem_gb = 5")
    assert load_profile(None).classes["probe"]["mem_gb"] == 5


def test_a_dispatch_keeps_its_profile_when_the_file_is_gone(tmp_path):
    mine = profile(tmp_path, '[bench]\npack_minutes = 3\nenvironment = {A = "x y"}\n[all]\nmem_gb = 5')
    facts = json.loads(json.dumps(mine.facts()))
    (tmp_path / "mine.toml").unlink()
    assert from_facts(facts) == mine
    assert from_facts(facts).setup == ["export A='x y'"]


def test_the_doctors_job_is_short_where_the_cells_are_long(tmp_path):
    mine = profile(tmp_path, "[all]\ntimeout_min = 2880\nslurm_signal_delay_s = 900\n")
    assert mine.classes["pretrain"]["timeout_min"] == 2880
    assert mine.classes["doctor"]["timeout_min"] == 10
