"""Teacher trajectories for the cold start, and which of them are taught."""
