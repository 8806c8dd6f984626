"""What Hypothesis draws: small problems made from a seed, so that a failure shrinks to small sizes."""

import os

import numpy as np
from hypothesis import Phase, settings
from hypothesis import strategies as st

from .batch_laws import make_batch
from .laws import make_problem

# A mutant is run to be failed, not to be understood: no search for a smaller example.
_MUTATION = "MUTANT_UNDER_TEST" in os.environ
_PHASES = (Phase.explicit, Phase.generate) if _MUTATION else tuple(Phase)

# The mutation tests find their mutants with 25: an example is a few sizes and a seed, so that more repeat themselves.
few = settings(max_examples=25, deadline=None, phases=_PHASES)

seeds = st.integers(0, 2**32 - 1)

problems = st.builds(
    make_problem, seeds, d_out=st.integers(1, 4), d_in=st.integers(2, 8), extra=st.integers(4, 12)
)

batches = st.builds(
    make_batch, seeds, d_out=st.integers(1, 4), d_in=st.integers(2, 8), pairs=st.integers(1, 5)
)


@st.composite
def key_batches(draw):
    """Batches of keys (n, d_in), of very unequal numbers and sizes."""
    random = np.random.default_rng(draw(seeds))
    width = draw(st.integers(1, 6))
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    scales = random.choice([0.01, 1.0, 30.0], len(sizes))
    return [scale * random.standard_normal((n, width)) for n, scale in zip(sizes, scales, strict=True)]
