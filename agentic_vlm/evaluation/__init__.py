"""Evaluation: run a model on held-out suites, grade its answers, say how sure the scores are."""
