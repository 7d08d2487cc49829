#!/bin/bash
#SBATCH --job-name=adorym
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=16
#SBATCH --cpus-per-task=4
#SBATCH --time=02:00:00
#SBATCH --signal=USR1@120

module load openmpi
source "$HOME/adorym/.venv/bin/activate"
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK

srun --kill-on-bad-exit=1 adorym run config.yaml --set run.store=do --set "run.max_time='115 min'" --output out
