"""The host of an attack run is a program with modules of its own, not a test module."""

collect_ignore = ["cases.py", "extra.py", "host.py"]
