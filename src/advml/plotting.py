"""Small figure helpers that several lectures share."""

import matplotlib.pyplot as plt
import numpy as np

from advml.validation import count


def image_grid(
    images, n_columns, *, ax=None, title="", limits=None, cmap="gray_r"
):
    """Draw a batch of images as one grid, all on the same colour scale.

    Parameters
    ----------
    images : array (n, height, width)
        Pixels that are nan show the grey of the frame.
    n_columns : int
        The grid is filled row by row.
    ax : matplotlib Axes, optional
        Where to draw; the current axes by default.
    limits : (low, high), optional
        Values at the ends of the colour scale; by default the smallest and
        largest finite pixel of all images. Filters of either sign want
        (-m, m) and a diverging `cmap`.

    Returns
    -------
    matplotlib.image.AxesImage, which `Figure.colorbar` takes.
    """
    images = np.asarray(images, dtype=float)
    if images.ndim != 3 or images.size == 0:
        raise ValueError(
            f"images must have shape (n, height, width), not {images.shape}"
        )
    finite = images[np.isfinite(images)]
    if limits is None:
        limits = (finite.min(), finite.max()) if finite.size else (0, 1)
    ax = plt.gca() if ax is None else ax
    tiles = _tiles(images, count("n_columns", n_columns))
    picture = ax.imshow(tiles, cmap=cmap, vmin=limits[0], vmax=limits[1])
    ax.set(xticks=[], yticks=[], title=title, facecolor="0.8")
    ax.spines[:].set_visible(False)
    return picture


def _tiles(images, n_columns):
    """One array of all images, with one blank pixel around each."""
    n, height, width = images.shape
    n_columns = min(n_columns, n)
    n_rows = -(-n // n_columns)
    tiles = np.full((n_rows, height + 1, n_columns, width + 1), np.nan)
    for k, image in enumerate(images):
        tiles[k // n_columns, 1:, k % n_columns, 1:] = image
    tiles = tiles.reshape(n_rows * (height + 1), -1)
    return np.pad(tiles, ((0, 1), (0, 1)), constant_values=np.nan)
