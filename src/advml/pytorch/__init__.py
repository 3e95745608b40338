"""The models of the course in PyTorch."""

import numpy as np

# Linux gives freed blocks of memory back at once, and takes a page fault for
# every 4 kB of the next tensor: a sixth of the time of small convolutions. It
# keeps blocks up to the size of the largest, of at most 32 MB, that was freed
# so far. This one is never touched, so that it costs nothing.
np.empty(2**25 - 2**13, np.uint8)
