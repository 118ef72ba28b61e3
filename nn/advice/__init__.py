"""Which method loses least of a network at a budget, before anything is trained: closed forms, not runs.

What is minimised is the noise over the signal of every layer, added up over layers: see
:mod:`nn.advice.noise`.
"""
