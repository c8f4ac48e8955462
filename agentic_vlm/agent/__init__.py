"""The loop: sample, act, observe, until a StopReason."""
