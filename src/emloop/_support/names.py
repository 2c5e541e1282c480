"""Memorable names, such as ``keen-noether``."""

from __future__ import annotations

import random

__all__ = ["random_name"]


def random_name(sep: str = "-") -> str:
    """An adjective and the surname of somebody who advanced mathematics, science or engineering.

    Drawn from the operating system's randomness, so it neither depends on a seed nor disturbs one.

    Args:
        sep: Separator of the two.
    """
    system = random.SystemRandom()
    return f"{system.choice(_ADJECTIVES.split())}{sep}{system.choice(_SURNAMES.split())}"


_ADJECTIVES = """
able agile amber ample apt ardent artful astute avid balmy blithe bold brave breezy bright brisk calm candid
cheery civil clear clever cosmic cosy crisp curious daring deft direct eager earnest easy elated fair festive fine
firm fleet fluent fond frank fresh gallant gentle genuine gifted glad golden grand handy hardy hearty honest humble
jaunty jolly jovial keen kind lively lucid lucky mellow merry mild modest neat nimble noble patient placid poised
polite proud quick quiet rapid ready robust serene sharp sincere sober solid spry stable steady sturdy subtle
sunny swift tidy tranquil upbeat valiant vivid warm wise witty zesty
"""

_SURNAMES = """
abel agnesi alhazen ampere anning archimedes aryabhata avicenna babbage banach banneker bayes bernoulli blackburn
blackwell bohr boole borlaug bose brahmagupta cantor carson cauchy celsius chandrasekhar chern church clarke cori
coulomb cramer curie darwin dijkstra dirac dresselhaus einstein elion erdos euclid euler fano faraday fermat fermi
feynman fibonacci fisher fourier franklin galileo galois gauss germain godel goodall haber hamilton hamming hardy
hausdorff heaviside hertz hilbert hodgkin hopper huygens hypatia jacobi johnson joliot joule karle kepler khayyam
kolmogorov kovalevskaya lagrange lamarr lamport laplace lavoisier leavitt leibniz liskov lorentz lovelace lyapunov
markov maxwell mcclintock meitner mendel mirzakhani montalcini napier nash neumann newton nightingale noether ohm
pascal pasteur payne perlman poincare poisson ptolemy raman ramanujan riemann robinson rubin sagan sanger shannon
somerville swartz tarski tesla tharp torvalds turing vaughan volta wiener wilkes wing wu yalow yonath zhukovsky
"""
