"""When and where: order, retries and slots of the stages. The only package that knows Prefect.

`python -m flows.reproduce` runs the flow, `python -m flows.params` applies a recipe. The graph is
read from DVC; there is no second list of stages.
"""
