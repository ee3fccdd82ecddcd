"""stub"""

from salsanity.suite.prints import print_of  # noqa
from salsanity.records import digest


def method_print(m):
    return repr(m) if not hasattr(m, "explainer") else m.name


def similarity_print(s):
    return digest(repr(s))
