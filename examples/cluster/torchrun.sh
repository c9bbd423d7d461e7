#!/usr/bin/env bash
# Start train.py under torchrun, which starts it again from its last checkpoint wherever a process or a machine fails.
#
#   examples/cluster/torchrun.sh                                    one machine, two processes
#   HEAD=node1:29400 NODES=2 examples/cluster/torchrun.sh           the same line on each of two machines
#   HEAD=node1:29400 NODES=1:2 examples/cluster/torchrun.sh         goes on with one machine where the other is lost
#
# What follows goes to train.py: --folder /shared/run --epochs 50
set -euo pipefail

# torch 2.13: without this a machine that joins after a failure waits for an address that is published only once.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NODES:-1}" \
    --nproc-per-node="${PROCESSES:-2}" \
    --max-restarts="${RESTARTS:-3}" \
    --rdzv-backend=c10d \
    --rdzv-endpoint="${HEAD:-localhost:0}" \
    --rdzv-id="${JOB:-digits}" \
    "$(dirname "$0")/train.py" "$@"
