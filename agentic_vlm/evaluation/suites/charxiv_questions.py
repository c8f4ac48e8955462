"""CharXiv's numbered question types: what they ask and which category they count in."""

from collections.abc import Sequence

_CATEGORIES = {
    "Information Extraction": range(1, 8),
    "Enumeration": (8, 9, 13, 14, 15),
    "Pattern Recognition": (11, 16, 18),
    "Counting": (10, 12, 19),
    "Compositionality": (17,),
}
_SOURCES = {1: "Text in Chart", 2: "Text in General", 3: "Number in Chart", 4: "Number in General"}
_FORMS = {
    1: "Answer with text that stands in the chart, in full; separate several terms with commas.",
    2: "If the question names options, answer with one of them; else with a short phrase.",
    3: "Answer with a number that stands in the chart, an approximate one included.",
}
_NA = "answer Not Applicable if there is none"
_QUESTIONS = {
    1: f"what is its title? If it has none of its own, {_NA}",
    2: f"what is the label of the x-axis? Include what is shared with other plots; {_NA}",
    3: f"what is the label of the y-axis? Include what is shared with other plots; {_NA}",
    4: "what is the leftmost labeled tick on the x-axis?",
    5: "what is the rightmost labeled tick on the x-axis?",
    6: "what is the spatially lowest labeled tick on the y-axis?",
    7: "what is the spatially highest labeled tick on the y-axis?",
    8: f"by how much do consecutive numerical ticks on the x-axis differ? {_NA}",
    9: f"by how much do consecutive numerical ticks on the y-axis differ? {_NA}",
    10: f"how many lines are there? {_NA}",
    11: f"do any lines intersect? Answer Yes or No, or {_NA}",
    12: f"how many discrete labels are there in the legend? {_NA}",
    13: f"what are the labels in the legend, from top to bottom, then from left to right? {_NA}",
    14: "what is the difference between the largest and the smallest tick of the continuous "
    f"legend (colorbar)? {_NA}",
    15: f"what is the largest tick label of the continuous legend (colorbar)? {_NA}",
    16: "what is the general trend of the values from left to right? Answer in a few words.",
    17: "how many explicitly labeled ticks are there on all axes together?",
    18: "What is the layout of the subplots? Answer n by m, rows before columns.",
    19: "How many subplots are there? A single plot counts as 1.",
}


def category_of(kind: str, number: int) -> str:
    """Return the category of a descriptive template (1 to 19) or a reasoning source (1 to 4).

    >>> category_of("descriptive", 13), category_of("reasoning", 3)
    ('Enumeration', 'Number in Chart')
    """
    if kind == "reasoning":
        return _SOURCES.get(number, "")
    return next((name for name, numbers in _CATEGORIES.items() if number in numbers), "")


def locate_plot(row: str | None, column: str | None, location: object) -> str:
    """Return which plot a question is about: the only one, one of a grid, or one by its place.

    >>> locate_plot("1", "2", None), locate_plot("0", "0", None)
    ('For the subplot at row 1 and column 2, ', 'For the current plot, ')
    """
    if row is not None and column is not None and int(row) > 0:
        return f"For the subplot at row {int(row)} and column {int(column)}, "
    if isinstance(location, str) and location:
        return f"For {location}, "
    if isinstance(location, Sequence) and len(location) == 2:
        return f"For the subplot at row {location[0]} and column {location[1]}, "
    return "For the current plot, "


def ask_descriptive(number: int, where: str) -> str:
    """Return a descriptive question; 18 and 19 are about the whole figure."""
    question = _QUESTIONS[number]
    return question if number in (18, 19) else where + question


def ask_reasoning(number: int, question: str, answer: str) -> str:
    """Return a reasoning question with what the answer must look like, types 1 to 4.

    A number that stands nowhere in the chart is asked for with the decimals of the reference.

    >>> print(ask_reasoning(4, "How much?", "0.25"))
    How much?
    Answer with a number that has 2 decimals.
    """
    form = _FORMS.get(number) or _number_form(answer)
    return f"{question}\n{form}"


def _number_form(answer: str) -> str:
    _, point, decimals = answer.strip().partition(".")
    if not point:
        return "Answer with a whole number."
    told = "1 decimal" if len(decimals) == 1 else f"{len(decimals)} decimals"
    return f"Answer with a number that has {told}."
