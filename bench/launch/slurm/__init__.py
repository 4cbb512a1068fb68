"""Cells as jobs of SLURM, submitted through submitit."""
