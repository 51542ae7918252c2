"""What is asked and what came back: configs, studies, plans, results, statistics. Imports neither torch nor ray."""
