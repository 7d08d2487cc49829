#!/bin/bash
# Usage: ./slurm_chain.sh 5       five jobs, one after the other; those that are not needed end at once
set -euo pipefail

previous=""
for _ in $(seq "$1"); do
    previous=$(sbatch --parsable ${previous:+--dependency=afterok:$previous} <<'JOB'
#!/bin/bash
#SBATCH --job-name=adorym
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=16
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00

source "$HOME/adorym/.venv/bin/activate"
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK

# The run ends itself, with a checkpoint and status 0, before the job's time is over.
resume=$([ -f out/checkpoint.h5 ] && echo --resume || true)
srun --kill-on-bad-exit=1 adorym run config.yaml --set "run.max_time='11.5 h'" --output out $resume
JOB
    )
    echo "job $previous"
done
