"""What the store knows of its shards, in SQL."""
