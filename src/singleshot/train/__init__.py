"""Training: recipe, optimizer, loop, checkpoints."""
