"""One run: the features of each batch, their comparison with the layers, what is kept, and what processes share."""
