import pytest

from agentic_vlm.errors import ArtifactMissing, ImageError
from agentic_vlm.formats.jsonl import JsonlFault, JsonlRow, iter_jsonl, read_picture


def lines(tmp_path, text):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(iter_jsonl(path))


def test_a_row_gives_its_fields(tmp_path):
    (line,) = lines(tmp_path, '{"question": "q", "answer": 7, "image": "a.png", "other": 1}\n')
    assert isinstance(line.content, JsonlRow)
    assert (line.content.answer, line.content.picture_paths) == ("7", ("a.png",))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", ""),
        ("[1]", ""),
        (b"\xff\xfe", ""),
        ('{"question": "q"}', "answer"),
        ('{"question": ["q"], "answer": "a"}', "question"),
        ('{"question": "q", "answer": "a", "family": "cooking"}', "family"),
    ],
)
def test_a_bad_row_is_a_fault_that_names_its_field_and_stops_nothing(tmp_path, text, field):
    good = b'\n{"question": "q", "answer": "a"}\n'
    bad, after = lines(tmp_path, (text if isinstance(text, bytes) else text.encode()) + good)
    assert isinstance(bad.content, JsonlFault)
    assert bad.content.field == field
    assert isinstance(after.content, JsonlRow)
    assert after.number == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactMissing, match=r"rows\.jsonl"):
        list(iter_jsonl(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/../../secret", "link"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, name):
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ImageError):
        read_picture(folder, name)


def test_a_link_inside_the_folder_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_picture(tmp_path, "b") == b"x"
