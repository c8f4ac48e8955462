"""What the host does to text that came from a session."""

from agentic_vlm.sandbox.channel import clean_text


def test_escapes_controls_and_lone_surrogates_are_removed() -> None:
    assert clean_text("a\x1b[2Jb\x00c\x07\ud800\td\n") == "abc?\td\n"


def test_ordinary_text_is_kept() -> None:
    assert clean_text("日本 €\n\t<|im_end|>") == "日本 €\n\t<|im_end|>"
