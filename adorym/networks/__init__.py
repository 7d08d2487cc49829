"""The trainable models behind the network initializers, and how they are trained."""
