"""The stages in the order of the flow: one module, one DVC stage, one section of params.yaml.

`python -m stages` prints the map, `python -m stages check` says what is missing before an hour is
spent, `python -m stages summary` prints the scores and the seconds of the last run.
"""

STAGES = (
    "build_base",
    "ingest",
    "curate",
    "probe",
    "allocate",
    "synthesize",
    "select_sft",
    "train_sft",
    "train_rl",
    "evaluate",
    "index",
    "report",
)
