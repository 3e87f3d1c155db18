"""Nothing here is a test: tests/test_benchmarks.py runs these programs."""

collect_ignore_glob = ["*.py"]
