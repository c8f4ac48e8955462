"""Each sample once: exact duplicates by id, near duplicates by picture, question and answer."""

from array import array
from collections.abc import Iterable, Iterator, Mapping

from agentic_vlm.curation.digests import digest_of
from agentic_vlm.curation.normalise import reject
from agentic_vlm.curation.picture_match import PictureFinder, kept_looks
from agentic_vlm.curation.pictures import Looks, PictureView
from agentic_vlm.curation.question_pairs import QuestionPairs
from agentic_vlm.curation.shelf import SampleShelf
from agentic_vlm.curation.texts import QuestionFinder, is_near_question
from agentic_vlm.grading import grade_answer
from agentic_vlm.params import CurateParams
from agentic_vlm.schema import CuratedSample, Rejection, RejectReason, Verdict


class DuplicateFilter:
    """Passes on the first of several samples that are the same.

    A near duplicate shows the same pictures, or none either, asks nearly the same question with
    the same numbers and names, and has the same answer. Questions about pictures often come from
    templates, so text alone says nothing about them.
    """

    def __init__(
        self,
        views: Mapping[str, PictureView],
        *,
        params: CurateParams,
        looks: Looks | None = None,
        pairs: QuestionPairs | None = None,
    ) -> None:
        """Take what is known of all samples that will be checked.

        Args:
            views: what is compared of every picture, by digest.
            params: distance of pictures and similarity of questions.
            looks: gives looks of pictures, where views keep none.
            pairs: which questions without pictures may be near, for many samples; absent, an index
                in memory grows with them (about 10 kB each).
        """
        self._params = params
        self._kept = SampleShelf()
        self._by_picture: dict[str, array[int]] = {}
        self._pictures = PictureFinder(
            views, looks or kept_looks(views), max_distance=params.phash_distance
        )
        self._pairs = pairs
        self._questions = QuestionFinder()

    def check(self, sample: CuratedSample) -> Rejection | None:
        """Return why the sample is left out; None keeps it and remembers it."""
        twin = self._kept.get(digest_of(sample.sample_id))
        if twin is not None:
            return reject(sample, RejectReason.EXACT_DUPLICATE, f"equals {_name(twin)}")
        for candidate in self._candidates(sample):
            if self._is_near(sample, candidate):
                evidence = f"near {_name(candidate)}: {candidate.question!r}"
                return reject(sample, RejectReason.NEAR_DUPLICATE, evidence)
        self._remember(sample)
        return None

    def _candidates(self, sample: CuratedSample) -> Iterable[CuratedSample]:
        if not sample.images:
            return sorted(self._asked_alike(sample), key=lambda row: row.sample_id)
        same = self._pictures.find(sample.images[0].sha256)
        return self._of(digest for sha256 in same for digest in self._by_picture[sha256])

    def _asked_alike(self, sample: CuratedSample) -> Iterator[CuratedSample]:
        if self._pairs is not None:
            return self._of(self._pairs.near(sample.sample_id))
        names = self._questions.propose_and_add(sample.sample_id, sample.question)
        return self._of(map(digest_of, names))

    def _of(self, digests: Iterable[int]) -> Iterator[CuratedSample]:
        """Yield those of the samples that were kept."""
        for digest in digests:
            found = self._kept.get(digest)
            if found is not None:
                yield found

    def _is_near(self, sample: CuratedSample, other: CuratedSample) -> bool:
        if len(sample.images) != len(other.images) or not is_near_question(
            sample.question, other.question, threshold=self._params.near_duplicate_threshold
        ):
            return False
        if grade_answer(sample.answer, other).verdict is not Verdict.CORRECT:
            return False
        return all(
            self._pictures.is_same(ref.sha256, twin.sha256)
            for ref, twin in zip(sample.images[1:], other.images[1:], strict=True)
        )

    def _remember(self, sample: CuratedSample) -> None:
        digest = self._kept.put(sample)
        if sample.images:
            first = sample.images[0].sha256
            self._pictures.add(first)
            self._by_picture.setdefault(first, array("Q")).append(digest)


def _name(sample: CuratedSample) -> str:
    return f"{sample.source}:{sample.source_row_id}"
