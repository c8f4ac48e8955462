"""Captured text stays bounded and says what it lacks."""

from agentic_vlm.sandbox.output import Capture, cut_middle


def test_many_small_writes_give_the_same_cut_as_one_text() -> None:
    text = "".join(f"line {n}\n" for n in range(5000))
    capture = Capture(max_chars=99)
    for line in text.splitlines(keepends=True):
        capture.write(line)
    assert capture.take() == cut_middle(text, max_chars=99)


def test_taking_starts_afresh() -> None:
    capture = Capture(max_chars=10)
    capture.write("x" * 50)
    capture.take()
    capture.write("short")
    assert capture.take() == ("short", 0)


def test_a_limit_of_one_character_keeps_the_first() -> None:
    assert cut_middle("abc", max_chars=1) == ("a\n[... 2 characters left out ...]\n", 2)
