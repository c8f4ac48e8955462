"""Train agentic vision-language models: from raw samples to a scored, tool-using agent.

The floors of the library, top to bottom; each imports from lower floors only:

    serve                                                    (planned: the agent as an endpoint)
    curation | synthesis | training | evaluation | analysis | stage
    agent                                                    the loop
    tools | grading                                          what a turn may call; is it right?
    backends | sandbox | search                              swappable parts
    world | formats                                          pocket world; published file formats
    store                                                    rows on disk, DuckDB
    params | vision | log                                    params.yaml as types; image limits; log
    schema                                                   the records
    errors
"""
