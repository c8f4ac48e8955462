"""Rows on disk: typed Parquet folders, pictures by content hash, resumable parts, the SQL index.

DuckDB lives only here, in `index` and `query`; nothing else imports those two but the stage
`index` and the command line.
"""

from agentic_vlm.store.datasets import iter_records, read_records, write_records
from agentic_vlm.store.images import ImageStore, ImageWriter
from agentic_vlm.store.parts import Parts, fingerprint

__all__ = [
    "ImageStore",
    "ImageWriter",
    "Parts",
    "fingerprint",
    "iter_records",
    "read_records",
    "write_records",
]
