"""Pictures that a cell shows: PIL images and matplotlib figures, as raw RGB."""

import sys
import types
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image


class Gallery:
    """Collects the pictures of one cell, in the order in which they were shown."""

    def __init__(self, *, max_images: int, max_pixels: int) -> None:
        self._max_images = max_images
        self._max_pixels = max_pixels
        self.images: list[Image.Image] = []
        self.notes: list[str] = []
        self.num_dropped = 0

    def clear(self) -> None:
        """Forget the pictures of the last cell."""
        self.images, self.notes, self.num_dropped = [], [], 0

    def add(self, image: Image.Image) -> None:
        """Keep an image; reduce it, or count it as dropped, where it is over a limit."""
        if len(self.images) >= self._max_images:
            self.num_dropped += 1
            return
        width, height = image.size
        if width < 1 or height < 1:
            self.num_dropped += 1
            self.notes.append(f"[a picture of {width} x {height} pixels has nothing to show]")
            return
        shown = image if image.mode == "RGB" else image.convert("RGB")
        factor = 1
        while -(-width // factor) * -(-height // factor) > self._max_pixels:
            factor += 1
        if factor > 1:
            shown = shown.reduce(factor)
            self.notes.append(
                f"[a picture of {width} x {height} pixels is shown as "
                f"{shown.width} x {shown.height}]"
            )
        elif shown is image:
            # What the cell paints on it afterwards is not what it showed.
            shown = image.copy()
        self.images.append(shown)

    def add_figure(self, figure: Figure) -> None:
        """Draw a figure, cropped to what is on it, and close it."""
        if len(self.images) >= self._max_images:
            self.num_dropped += 1
            plt.close(figure)
            return
        drawn: list[Image.Image] = []
        try:
            # "pixels" is the format that `install` adds: what a PNG would hold, not encoded.
            figure.savefig(
                drawn,  # type: ignore[arg-type]  # goes to _print_pixels as it is
                format="pixels",
                bbox_inches="tight",
                facecolor=figure.get_facecolor(),
            )
        finally:
            plt.close(figure)
        self.add(drawn[0])

    def show(self, *shown: object, **_options: object) -> None:
        """Show objects, as `display` does in a notebook: pictures as pictures, others as text."""
        for one in shown:
            if not self.take_picture(one):
                print(repr(one))

    def take_picture(self, value: object) -> bool:
        """Keep the value if it is a picture, and say whether it was."""
        if isinstance(value, Image.Image):
            self.add(value)
        elif isinstance(value, Figure):
            self.add_figure(value)
        else:
            return False
        return True

    def show_open_figures(self, *_arguments: object, **_options: object) -> None:
        """Draw and close every open figure, as `plt.show()` does in a notebook."""
        for number in plt.get_fignums():
            self.add_figure(plt.figure(number))

    def install(self, namespace: dict[str, object]) -> None:
        """Make `display`, `img.show()` and `plt.show()` end up here."""
        namespace["display"] = self.show
        plt.show = self.show_open_figures
        Figure.show = lambda figure, *_arguments, **_options: self.add_figure(figure)  # type: ignore[method-assign]  # no window here
        FigureCanvasAgg.print_pixels = _print_pixels  # type: ignore[attr-defined]  # savefig finds it by name
        sys.modules.update(_notebook_modules(self.show))
        Image.Image.show = lambda image, *_arguments, **_options: self.add(image)  # type: ignore[method-assign]  # no window here


def _print_pixels(canvas: FigureCanvasAgg, drawn: list[Image.Image], **_options: object) -> None:
    FigureCanvasAgg.draw(canvas)  # type: ignore[no-untyped-call]  # matplotlib has no types here
    rgba = canvas.buffer_rgba()  # type: ignore[no-untyped-call]  # same
    drawn.append(Image.fromarray(np.asarray(rgba)))


def _notebook_modules(display: Callable[..., None]) -> dict[str, types.ModuleType]:
    """Return what `from IPython.display import display` finds, whether IPython is there or not."""
    package, shown = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    package.__path__ = []
    package.display = shown  # type: ignore[attr-defined]  # a module takes any name
    package.get_ipython = lambda: None  # type: ignore[attr-defined]  # same
    shown.display = display  # type: ignore[attr-defined]  # same
    shown.clear_output = lambda wait=False: None  # type: ignore[attr-defined]  # same
    return {"IPython": package, "IPython.display": shown}
