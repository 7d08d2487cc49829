#!/bin/bash
#SBATCH --job-name=adorym
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=4
#SBATCH --mem=64G
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@300

source "$HOME/adorym/.venv/bin/activate"
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK

# The file lies on the node's own disk; it is gone when the job ends, the checkpoint in 'out' is not.
srun --kill-on-bad-exit=1 adorym run config.yaml --set run.store=h5 --set "run.memory='2 GiB'" \
    --set "run.scratch=$TMPDIR" --set "run.max_time='230 min'" --output out
