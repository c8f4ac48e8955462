"""Pictures by content hash."""

import io

import pytest
from PIL import Image

from agentic_vlm.errors import ImageError
from agentic_vlm.store import ImageStore, ImageWriter


def test_pictures_come_back_pixel_for_pixel(tmp_path, make_image):
    picture = make_image("blue", size=(40, 30))
    with ImageWriter(tmp_path / "images") as images:
        ref = images.add(picture)
    back = ImageStore.open(tmp_path / "images").get(ref)
    assert (ref.width_px, ref.height_px) == (40, 30)
    assert (back.mode, back.tobytes()) == ("RGB", picture.tobytes())


def test_equal_pictures_are_stored_once(tmp_path, make_image):
    with ImageWriter(tmp_path / "images") as images:
        assert images.add(make_image()) == images.add(make_image())
    assert len(ImageStore.open(tmp_path / "images")) == 1


def test_encoded_files_are_kept_as_they_are(tmp_path, make_image):
    buffer = io.BytesIO()
    make_image().save(buffer, format="JPEG")
    with ImageWriter(tmp_path / "images") as images:
        ref = images.add(buffer.getvalue())
    assert ref.media_type == "image/jpeg"
    assert ImageStore.open(tmp_path / "images").get_bytes(ref) == buffer.getvalue()


def test_the_order_of_adding_never_changes_the_bytes(tmp_path, make_image):
    colours = ["red", "green", "blue"] * 10
    for name, order in (("a", colours), ("b", colours[::-1])):
        with ImageWriter(tmp_path / name) as images:
            for colour in order:
                images.add(make_image(colour))
    name = "part-00000.parquet"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_metadata_of_a_picture_never_changes_its_hash(tmp_path, make_image):
    noted = make_image()
    noted.info["dpi"] = (300, 300)
    with ImageWriter(tmp_path / "images") as images:
        assert images.add(noted) == images.add(make_image())


def test_a_broken_file_is_named(tmp_path, make_image):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, format="PNG")
    with ImageWriter(tmp_path / "images") as images:
        with pytest.raises(ImageError, match=r"cat\.png: broken picture"):
            images.add(buffer.getvalue()[:-500], where="cat.png")
        with pytest.raises(ImageError, match=r"text\.png: broken picture"):
            images.add(b"no picture", where="text.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_that_unpacks_to_too_much_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, format="PNG")
    with ImageWriter(tmp_path / "images") as images, pytest.raises(ImageError, match="exceed"):
        images.add(buffer.getvalue(), where="bomb.png")


def test_an_unknown_picture_is_an_error(tmp_path, image_ref):
    with ImageWriter(tmp_path / "images"):
        pass
    with pytest.raises(ImageError, match="not in the image folders"):
        ImageStore.open(tmp_path / "images").get(image_ref)


def test_a_reference_of_another_size_is_an_error(tmp_path, make_image):
    with ImageWriter(tmp_path / "images") as images:
        ref = images.add(make_image())
    with pytest.raises(ImageError, match="its reference says 99 x 32"):
        ImageStore.open(tmp_path / "images").get(ref.model_copy(update={"width_px": 99}))


def test_a_spool_survives_a_crash_and_forgets_what_was_cut_short(tmp_path, make_image):
    spool = tmp_path / "spool"
    first = ImageWriter(tmp_path / "images", spool=spool)
    kept = first.add(make_image("red"))
    first.add(make_image("blue"))
    with spool.open("r+b") as stream:
        stream.truncate(spool.stat().st_size - 1)
    again = ImageWriter(tmp_path / "images", spool=spool)
    third = again.add(make_image("green"))
    assert again.close() == 2
    assert set(ImageStore.open(tmp_path / "images")) == {kept.sha256, third.sha256}


def test_only_pictures_that_are_kept_are_written(tmp_path, make_image):
    images = ImageWriter(tmp_path / "images")
    kept = images.add(make_image("red"))
    images.add(make_image("blue"))
    assert images.close(keep=[kept.sha256]) == 1
    assert list(ImageStore.open(tmp_path / "images")) == [kept.sha256]


def test_a_failed_block_writes_nothing(tmp_path, make_image):
    def failing():
        with ImageWriter(tmp_path / "images") as images:
            images.add(make_image())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        failing()
    assert not (tmp_path / "images").exists()
