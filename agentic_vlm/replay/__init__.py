"""Stored trajectories run again: every call, every observation, every verdict."""
