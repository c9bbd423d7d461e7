#!/usr/bin/env bash
# A SLURM job that saves itself before its time is up, goes back into the queue, and continues there.
#
#   sbatch examples/cluster/slurm.sh --folder /shared/run
#
#SBATCH --job-name=digits
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --time=00:30:00
#SBATCH --requeue
# 90 seconds before the end SLURM sends SIGUSR1 to every task (no "B:": to the tasks, not to this script). Lightning then
# writes a checkpoint, with the state of the callback in it, and calls `scontrol requeue`.
#SBATCH --signal=SIGUSR1@90
# The next turn of the job adds to the same output.
#SBATCH --open-mode=append
set -euo pipefail

# sbatch runs a copy of this file, so train.py is looked for where sbatch was called: the root of the repository.
srun "${PYTHON:-python}" "${SLURM_SUBMIT_DIR:-.}/examples/cluster/train.py" \
    --nodes "${SLURM_NNODES:-1}" --devices "${SLURM_NTASKS_PER_NODE:-1}" "$@"
