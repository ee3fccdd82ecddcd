"""stub"""


def upgraded(spec):
    return spec
