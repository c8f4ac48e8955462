"""Analysis: what models do with tools, how training went, and the report that shows it."""
