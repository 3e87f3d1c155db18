"""The original files that positional references lead to: files alone, and only in folders that were named."""
