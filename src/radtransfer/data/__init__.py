"""From a manifest entry to a curated dataset: fetch, verify, select, split, store."""
