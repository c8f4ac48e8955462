"""Rows on disk: typed Parquet folders, pictures by content hash, resumable parts, the SQL index.

DuckDB lives only here, in `sources`, `index` and `database`; nothing else imports those but the
stage `index` and the command line `query`.
"""

from agentic_vlm.store.datasets import iter_records, read_records, write_records
from agentic_vlm.store.images import ImageStore, ImageWriter
from agentic_vlm.store.latencies import logging_latencies
from agentic_vlm.store.parts import Parts, fingerprint
from agentic_vlm.store.writer import RecordWriter

__all__ = [
    "ImageStore",
    "ImageWriter",
    "Parts",
    "RecordWriter",
    "fingerprint",
    "iter_records",
    "logging_latencies",
    "read_records",
    "write_records",
]
