"""The clock, the schedule of runs, statistics and records."""
