"""Networks come and go: trained elsewhere and brought into a database, or trained there and taken out.

What is brought in becomes an ordinary model: its inputs are rows of Selectron's own encoding, its weights
are parameters in the store. Where an encoding of ours has other units than the original's (an indicator of
NULL, a bucket for unseen categories), the first layer's weights are arranged so that the outputs agree.
What goes out takes the encoded features, in the order of :func:`~selectron.interchange.dense.input_units`.

Each library has a module of its own, imported when it is asked for.
"""

__all__: list[str] = []
