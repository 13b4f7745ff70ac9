"""What measures the product and shows it: benchmarks, the paper's tables, the demonstration."""
