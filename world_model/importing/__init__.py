"""Checkpoints of ours from published weights: catalog, download, the official files' layout."""
