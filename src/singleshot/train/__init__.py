"""Training: recipe, solver, loop, checkpoints."""
