"""Coverage-guided fuzzing: what is tried (``targets``), under which bounds, and the command that runs it.

``tests/fuzz/run --hours 2`` needs the extra ``fuzz``; the seeds and the crashes of old run with the other tests.
"""
