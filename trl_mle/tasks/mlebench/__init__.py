"""Competitions of MLE-bench (github.com/openai/mle-bench) as tasks, from the data that `mlebench prepare` has made.

`data_dir.py` finds the data and `competitions.py` what is known of a competition. `prepare.py` makes a task folder of both, and
`task.py` grades with the package's own functions, or with ours.
"""
