"""Draw the picture of the home page and the logo, the same bytes each time.

Run ``python pages/make_images.py``; it writes into ``pages/_static``.
"""

from pathlib import Path

import numpy as np
from matplotlib.image import imsave

STATIC = Path(__file__).parent / "_static"
BLUE, PALE = "#0072B2", "#F5F1E6"
CRITICAL = 2 / np.log(1 + np.sqrt(2))


def magnet(height=84, width=448, sweeps=4000, seed=4):
    """Ising spins whose temperature rises from left to right, by heat bath.

    The columns run from T_c / 2 to 3 T_c / 2, so the middle one is critical.
    """
    rng = np.random.default_rng(seed)
    temperature = np.linspace(CRITICAL / 2, 3 * CRITICAL / 2, width)
    spins = np.ones((height, width), dtype=int)
    colour = np.indices(spins.shape).sum(axis=0) % 2
    for _ in range(sweeps):
        for sublattice in (0, 1):
            field = np.roll(spins, 1, 0) + np.roll(spins, -1, 0)
            field[:, 1:] += spins[:, :-1]
            field[:, :-1] += spins[:, 1:]
            up = 1 / (1 + np.exp(-2 * field / temperature))
            drawn = np.where(rng.random(spins.shape) < up, 1, -1)
            spins = np.where(colour == sublattice, drawn, spins)
    return spins


def picture(spins, scale=3):
    """Spins as RGB, `scale` pixels each."""
    rgb = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (BLUE, PALE)]
    colours = np.array(rgb, dtype=np.uint8)
    pixels = colours[(spins < 0).astype(int)]
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def logo():
    """The partition function Z as spins on a 5 x 5 lattice."""
    letter = ["#####", "...#.", "..#..", ".#...", "#####"]
    dots = "".join(
        f'<circle cx="{12 + 10 * j}" cy="{12 + 10 * i}" r="4" '
        f'fill="{"#FFFFFF" if mark == "#" else "#3C93C4"}"/>'
        for i, row in enumerate(letter)
        for j, mark in enumerate(row)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
        f'<rect width="64" height="64" rx="13" fill="{BLUE}"/>{dots}</svg>\n'
    )


if __name__ == "__main__":
    STATIC.mkdir(exist_ok=True)
    imsave(
        STATIC / "magnet.png", picture(magnet()), metadata={"Software": None}
    )
    (STATIC / "logo.svg").write_text(logo(), "utf-8")
