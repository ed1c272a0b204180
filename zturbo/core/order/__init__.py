"""Which output comes after which: paths, ids, meta."""
