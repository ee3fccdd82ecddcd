"""Draws of fresh parameters, the stages that use them, and what keeps them honest; nothing here
swaps for good.

`draw` has the initialisers, `fresh` the one that builds networks (and `Keeping`), `stages` says
which blocks are randomised together, `batchnorm` what running statistics become, `collapse` picks
`auto`.
"""
