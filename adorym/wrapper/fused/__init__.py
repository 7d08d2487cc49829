"""Operations with hand-written adjoints: one NumPy-level core each, adapted to every backend by `Backend.fused`.

Every operation here has a plain counterpart written with `Backend` functions; tests hold the two equal.
"""
