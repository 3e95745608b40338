"""The models of the course in PyTorch."""
