"""Where the bytes of a shard come from."""
