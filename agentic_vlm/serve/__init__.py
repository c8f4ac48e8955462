"""The agent behind an OpenAI-compatible chat endpoint: its loop, its tools, one checkpoint."""
