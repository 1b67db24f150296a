"""What a causal model knows of a text, in bits; and the file of that many bits, as proof.

Shannon 1948, A mathematical theory of communication; Delétang et al. 2024, arXiv:2309.10668: a model of a text is a
compressor of it, and the other way round.
"""
