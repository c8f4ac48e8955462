"""Train agentic vision-language models: from raw samples to a scored, tool-using agent.

The floors of the library, top to bottom; each imports from lower floors only:

    ask                                                      one question, turn by turn
    curation | synthesis | training | evaluation | analysis | stage | preflight
    agent                                                    the loop
    tools | grading                                          what a turn may call; is it right?
    backends | sandbox | search                              swappable parts
    world | formats                                          pocket world; published file formats
    store                                                    rows on disk, DuckDB
    runlog                                                   what a run cost
    params | vision | log | progress                         params.yaml as types; image limits
    schema                                                   the records
    errors
"""
