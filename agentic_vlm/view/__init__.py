"""Trajectories to look at: one self-contained page per slice, without a server or a network."""
