"""Helper modules of the course: each equation once, in readable code.

Arrays are NumPy, ``float64`` unless stated, and the first axis is the batch.
Every function that draws random numbers takes ``seed``, an integer or a
``numpy.random.Generator``; nothing reads or changes global random state.
Dependencies point one way: ``datasets``, ``ising``, ``quantum`` and the
models, samplers and measures in NumPy (``rbm``, ``ebm``, ``vae``, ``gan``,
``networks``, ``sampling``, ``likelihood``, ``metrics``) <- ``pytorch``,
``tensorflow`` <- notebooks. ``checks``, ``display``, ``plotting`` and
``validation`` are leaves.
"""
