"""Detection with a trained model."""
