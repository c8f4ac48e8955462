"""MMSearch's measures: how good is a search query, and was a helpful website chosen?

Sources: MMSearch (github.com/CaraJ7/MMSearch), which calls nltk's `sentence_bleu` with weights
(1, 0, 0, 0) and version 1.0.1 of the package `rouge`; both are reproduced here, since the second
one is no longer kept up. Letter case and punctuation count.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from agentic_vlm.grading.findings import Finding, Reference, decide, doubt
from agentic_vlm.params import GradingParams

_WEBSITE = re.compile(r"<Website ([0-9]{1,9})>")
_ROUGE_EPSILON = 1e-8
# The longest common run takes the product of both lengths.
_MAX_WORDS = 300
NOT_SURE = 0.5
"""What a website is worth that only may help."""


def grade_requery(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Mean of BLEU-1 and ROUGE-L with the best reference; only 0 and 1 are verdicts."""
    if any(len(text.split()) > _MAX_WORDS for text in (answer, *reference.texts)):
        return doubt("too long for a search query", 0.0)
    best = max((bleu_1(answer, text) + rouge_l(answer, text)) / 2 for text in reference.texts)
    is_whole = answer.split() in [text.split() for text in reference.texts]
    if best > 0 and not is_whole:
        return doubt("a share of the words of the query", best)
    return decide(is_whole, "the same query" if is_whole else "no common word", best)


def grade_rerank(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """One `<Website k>`: 1 for a helpful one, 0.5 for one that may help, else 0.

    The helpful ones stand in the texts of the reference, those that may help in its options. Two
    websites are no choice, and neither is a bare number.
    """
    chosen = _WEBSITE.findall(answer)
    if len(chosen) != 1:
        return decide(False, f"names {len(chosen)} websites instead of one", 0.0)
    if chosen[0] in _websites(reference.texts):
        return decide(True, f"website {chosen[0]} helps", 1.0)
    if chosen[0] in _websites(reference.options):
        return doubt(f"website {chosen[0]} may help", NOT_SURE)
    return decide(False, f"website {chosen[0]} does not help", 0.0)


def _websites(texts: Iterable[str]) -> set[str]:
    return {number for text in texts for number in _WEBSITE.findall(text)}


def bleu_1(answer: str, reference: str) -> float:
    """Return the share of the words that stand in the reference, less for a shorter text, 0 to 1.

    >>> bleu_1("iPhone release date", "iPhone 16 release date")
    0.7165313105737893
    """
    given, wanted = answer.split(), reference.split()
    num_common = sum((Counter(given) & Counter(wanted)).values())
    if not num_common:
        return 0.0
    shortness = math.exp(min(0.0, 1 - len(wanted) / len(given)))
    return shortness * num_common / len(given)


def rouge_l(answer: str, reference: str) -> float:
    """Return the F1 of the longest common runs of words, sentence by sentence, 0 to 1.

    A word counts once, however often it stands in a text.

    >>> round(rouge_l("iPhone release date", "iPhone 16 release date"), 6)
    0.857143
    """
    given, wanted = _sentences(answer), _sentences(reference)
    num_given, num_wanted = (
        len({word for one in text for word in one}) for text in (given, wanted)
    )
    if not num_given or not num_wanted:
        return 0.0
    common = {word for one in wanted for other in given for word in _longest_common(one, other)}
    recall, precision = len(common) / num_wanted, len(common) / num_given
    return 2 * precision * recall / (precision + recall + _ROUGE_EPSILON)


def _sentences(text: str) -> list[list[str]]:
    return [words for part in text.split(".") if (words := part.split())]


def _longest_common(left: Sequence[str], right: Sequence[str]) -> list[str]:
    lengths = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, word in enumerate(left, start=1):
        for j, other in enumerate(right, start=1):
            longer = max(lengths[i - 1][j], lengths[i][j - 1])
            lengths[i][j] = lengths[i - 1][j - 1] + 1 if word == other else longer
    i, j, common = len(left), len(right), []
    while i and j:
        if left[i - 1] == right[j - 1]:
            common.append(left[i - 1])
            i, j = i - 1, j - 1
        elif lengths[i - 1][j] > lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return common
