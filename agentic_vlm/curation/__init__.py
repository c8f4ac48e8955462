"""From raw samples to pools: intake, duplicates, contamination, probing, allocation."""
