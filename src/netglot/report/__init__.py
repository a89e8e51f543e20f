"""Tables, plots, pages and notebooks: made from records and programs, nothing else."""
