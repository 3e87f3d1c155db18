"""DAGs over a blockstore: walks, selectors, paths, completeness, order."""
