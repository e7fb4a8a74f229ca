"""The mathematics of the semi-dual: pure functions of tensors, `keras.ops` only."""
