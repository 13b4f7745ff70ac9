"""How good a detector is: average precision in every convention."""
