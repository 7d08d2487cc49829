#!/bin/bash
#SBATCH --job-name=adorym
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4          # one rank a GPU
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=02:00:00
#SBATCH --signal=USR1@120            # a checkpoint two minutes before the end

module load openmpi                  # the MPI that mpi4py was built with, or none with the mpich wheel
source "$HOME/adorym/.venv/bin/activate"

# Ranks of a node take turns at its GPUs. A rank that dies takes the others with it.
srun --kill-on-bad-exit=1 adorym run config.yaml --set run.store=dp --set "run.max_time='115 min'" --output out
