"""What people look at: a run's report page and its tables. Imports neither torch nor ray."""
