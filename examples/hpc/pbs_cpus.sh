#!/bin/bash
#PBS -N adorym
#PBS -l select=4:ncpus=64:mpiprocs=16:ompthreads=4
#PBS -l walltime=02:00:00

cd "$PBS_O_WORKDIR"
module load openmpi
source "$HOME/adorym/.venv/bin/activate"

resume=$([ -f out/checkpoint.h5 ] && echo --resume || true)
mpirun -n 64 adorym run config.yaml --set run.store=do --set "run.max_time='115 min'" --output out $resume
