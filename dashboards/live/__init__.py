"""A running sweep as a web page: it follows the run directory and nothing else."""
