"""What sbatch says, word for word, and in which environment it is called."""

import pytest

from bench.launch.slurm.sbatch import SubmitError, clean_environment, said

LIMIT = (
    "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size"
    " and/or time limits)"
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (LIMIT, "limit"),
        (LIMIT.replace("QOSMaxSubmitJobPerUserLimit", "AssocMaxSubmitJobLimit"), "limit"),
        (LIMIT.replace("QOSMaxSubmitJobPerUserLimit", "QOSMaxWallDurationPerJobLimit"), "refused"),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
            "silent",
        ),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", "silent"),
        ("sbatch: error: Batch job submission failed: Resource temporarily unavailable", "silent"),
        (
            "sbatch: error: invalid partition specified: nix\nsbatch: error: Batch job submission failed: ...",
            "refused",
        ),
        ("sbatch: error: Batch job submission failed: Invalid job array specification", "refused"),
        ("", "refused"),
    ],
)
def test_an_error_is_one_that_may_pass_or_one_that_will_not(text, fault):
    error = SubmitError(text)
    assert error.fault == fault
    assert "\n" not in str(error)
    assert str(error)


def test_an_error_of_sbatch_is_one_line_without_its_name():
    text = (
        "sbatch: error: invalid partition specified: nix\nsbatch: error: Batch job submission failed: Invalid"
    )
    assert said(text) == "invalid partition specified: nix; Batch job submission failed: Invalid"


def test_the_variables_of_a_surrounding_job_are_left_out_and_those_of_the_cluster_kept():
    inside = {
        "SLURM_CONF": "/etc/x",
        "SLURM_JOB_ID": "1",
        "SLURM_CPUS_PER_TASK": "9",
        "SBATCH_PARTITION": "x",
        "SBATCH_ACCOUNT": "mine",
        "SUBMITIT_PREEMPT_SIGNAL": "TERM",
        "PATH": "/bin",
    }
    assert clean_environment(inside, {}) == {"SLURM_CONF": "/etc/x", "PATH": "/bin"}


def test_a_users_own_account_counts_where_the_profile_names_none():
    shell = {"SBATCH_ACCOUNT": "mine", "SBATCH_PARTITION": "x"}
    assert clean_environment(shell, {}) == {"SBATCH_ACCOUNT": "mine"}
    assert clean_environment(shell, {"slurm_account": "ours"}) == {}
