"""The pocket world: generated pictures, questions, entities and their encyclopedia.

Deterministic from a seed, byte for byte. Entities of the held-out suites appear in no training
sample.
"""
