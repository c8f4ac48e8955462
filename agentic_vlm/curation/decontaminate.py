"""No sample of a held-out suite may be learned from.

The same picture is enough, since another question about it still shows what it holds. Text counts
for rows without pictures only, and only where the question has more than twelve words: shorter ones
coincide by chance.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from agentic_vlm.curation.normalise import reject
from agentic_vlm.curation.picture_match import PictureFinder, kept_looks
from agentic_vlm.curation.pictures import Looks, PictureView
from agentic_vlm.curation.texts import (
    QuestionFinder,
    decisive_words,
    is_near_question,
    iter_ngrams,
    words_of,
)
from agentic_vlm.grading import grade_answer
from agentic_vlm.params import CurateParams
from agentic_vlm.schema import CuratedSample, RawSample, Rejection, RejectReason, Verdict

_MAX_SHORT_WORDS = 12


class SuiteFilter:
    """Finds rows that a held-out suite holds too."""

    def __init__(
        self,
        held_out: Iterable[RawSample],
        views: Mapping[str, PictureView],
        *,
        params: CurateParams,
        looks: Looks | None = None,
    ) -> None:
        """Index the samples of all suites.

        Args:
            held_out: their samples.
            views: what is compared of every picture, of suites and of training rows, by digest.
            params: distance of pictures and length of word runs.
            looks: gives looks of pictures, where views keep none.
        """
        self._params = params
        self._ids: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        self._runs: dict[tuple[str, ...], list[RawSample]] = defaultdict(list)
        self._found: dict[str, list[str]] = {}
        self._questions = QuestionFinder()
        self._asked: dict[str, RawSample] = {}
        for sample in held_out:
            self._ids.setdefault(sample.sample_id, _name(sample))
            for ref in sample.images:
                self._owners.setdefault(ref.sha256, _name(sample))
            if not sample.images and len(words_of(sample.question)) > _MAX_SHORT_WORDS:
                for run in set(iter_ngrams(sample.question, params.ngram)):
                    self._runs[run].append(sample)
                if sample.sample_id not in self._asked:
                    self._asked[sample.sample_id] = sample
                    self._questions.propose_and_add(sample.sample_id, sample.question)
        self._finder = PictureFinder(
            views, looks or kept_looks(views), max_distance=params.phash_distance
        )
        for sha256 in self._owners:
            self._finder.add(sha256)

    def check(self, sample: CuratedSample) -> Rejection | None:
        """Return why the sample is left out, or None."""
        evidence = self._evidence(sample)
        if evidence is None:
            return None
        return reject(sample, RejectReason.CONTAMINATED, evidence)

    def _evidence(self, sample: CuratedSample) -> str | None:
        if sample.sample_id in self._ids:
            return f"equals {self._ids[sample.sample_id]}"
        for ref in sample.images:
            same = self._same_pictures(ref.sha256)
            if same:
                return f"picture {ref.sha256[:12]} is that of {self._owners[same[0]]}"
        return self._text_evidence(sample)

    def _same_pictures(self, sha256: str) -> list[str]:
        if sha256 not in self._found:
            self._found[sha256] = self._finder.find(sha256)
        return self._found[sha256]

    def _text_evidence(self, sample: CuratedSample) -> str | None:
        if sample.images or len(words_of(sample.question)) <= _MAX_SHORT_WORDS:
            return None
        own = decisive_words(sample.question)
        for run in iter_ngrams(sample.question, self._params.ngram):
            for twin in self._runs.get(run, ()):
                # Word problems from one template share long runs and differ in numbers and names.
                if decisive_words(twin.question) <= own:
                    return f"shares {' '.join(run)!r} with {_name(twin)}"
        # A sketch costs as much as all the rest; many suites have no long question without picture.
        near = self._questions.propose(sample.question) if self._asked else []
        for name in near:
            twin = self._asked[name]
            threshold = self._params.near_duplicate_threshold
            if (
                is_near_question(sample.question, twin.question, threshold=threshold)
                and grade_answer(sample.answer, twin).verdict is Verdict.CORRECT
            ):
                return f"asks nearly what {_name(twin)} asks: {twin.question!r}"
        return None


def _name(sample: RawSample) -> str:
    return f"{sample.split}/{sample.source}:{sample.source_row_id}"
