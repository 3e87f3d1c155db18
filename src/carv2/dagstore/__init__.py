"""The DAG store: thousands of archives as one."""
