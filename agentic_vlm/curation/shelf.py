"""The samples that were kept so far, on disk; memory holds where each begins."""

from tempfile import TemporaryFile

from agentic_vlm.curation.digests import DigestMap, digest_of
from agentic_vlm.schema import CuratedSample


class SampleShelf:
    """Samples by the digest of their id."""

    def __init__(self) -> None:
        """Begin empty; the file is temporary."""
        self._file = TemporaryFile()  # noqa: SIM115  # lives as long as the shelf
        self._places = DigestMap()
        self._end = 0

    def put(self, sample: CuratedSample) -> int:
        """Keep a sample whose id is new, and return the digest of its id."""
        line = sample.model_dump_json().encode() + b"\n"
        self._file.seek(self._end)
        self._file.write(line)
        digest = digest_of(sample.sample_id)
        self._places.add(digest, self._end)
        self._end += len(line)
        return digest

    def get(self, digest: int) -> CuratedSample | None:
        """Return the sample with this digest; None where it was not kept."""
        place = self._places.get(digest)
        if place is None:
            return None
        self._file.seek(place)
        return CuratedSample.model_validate_json(self._file.readline())
