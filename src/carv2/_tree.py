"""The local files and folders that an import reads, in a fixed order."""
