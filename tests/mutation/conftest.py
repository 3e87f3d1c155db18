"""Nothing here is a doctest, and some of it needs what only `carv2[mutation]` installs."""

collect_ignore = ["calm.py", "forks.py", "fresh.py", "mutants.py", "quick.py", "run.py"]
