"""Files and directories as DAGs: import, reading, extraction."""
