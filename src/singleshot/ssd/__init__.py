"""The method: default boxes, box coder, matching, loss and detection output."""
