# What slurm/dev/up and slurm/dev/down share: which folder, which processes are the cluster's, how one waits.
# Sourced by them with $0 theirs.

PATH=$PATH:/usr/sbin:/sbin
DAEMONS='slurmctld slurmd slurmdbd slurmscriptd slurmstepd munged mariadbd'

say() { echo "${0##*/}: $*" >&2; }
bad() { say "$*"; exit 2; }
fail() { say "$*"; exit 1; }

# The header of the script that runs, from its second line to the first that is no comment.
print_help() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# runs_programs DIR: whether programs there may be run (not so if it is mounted noexec): jobs' scripts lie in DIR.
runs_programs() {
  local file status=0
  file=$(mktemp -p "$1" 2>/dev/null) || return 1
  printf '#!/bin/sh\n' >"$file"
  chmod 700 "$file"
  "$file" 2>/dev/null || status=1
  rm -f "$file"
  return $status
}

# default_folder: where the cluster lives unless told otherwise.
default_folder() {
  if [ -n "${BENCH_SLURM_DIR:-}" ]; then echo "$BENCH_SLURM_DIR"
  elif [ -w "${XDG_RUNTIME_DIR:-}" ] && runs_programs "$XDG_RUNTIME_DIR"; then echo "$XDG_RUNTIME_DIR/bench-slurm"
  else echo "${TMPDIR:-/tmp}/bench-slurm-$(id -un)"; fi
}

# SLURM's settings of another cluster, or of a job that this is called from, mean nothing here.
forget_other_clusters() {
  local name
  if [ -n "${SLURM_CONF:-}" ] && [ "$SLURM_CONF" != "$FOLDER/slurm.conf" ]; then
    say "your SLURM_CONF ($SLURM_CONF) is left alone: this is a cluster of its own"
  fi
  for name in ${!SLURM_@} ${!SBATCH_@} ${!SRUN_@} ${!SQUEUE_@} ${!SACCT_@}; do unset "$name"; done
  export SLURM_CONF=$FOLDER/slurm.conf
}

# pid_of NAME: the process in run/NAME.pid, if it lives and is that program (a number may have been given again).
pid_of() {
  local pid
  pid=$(cat "$FOLDER/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${1%%-*}" ] || return 1
  ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null || return 1
  echo "$pid"
}

runs() { pid_of "$1" >/dev/null; }

# wait_for SECONDS COMMAND...: until the command succeeds; fails when the time is over.
wait_for() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -le $end ] || return 1
    sleep 0.05
  done
}

# setting NAME: its value in slurm.conf.
setting() { sed -n "s/^$1=\([^ ]*\).*/\1/p" "$SLURM_CONF"; }
