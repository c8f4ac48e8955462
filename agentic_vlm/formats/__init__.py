"""Readers and writers of file formats that others publish."""
