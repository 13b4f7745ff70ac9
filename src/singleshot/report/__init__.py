"""Images, plots and pages for people."""
