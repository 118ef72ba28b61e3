"""Networks that live in a shared bank: layers, training and pruning rivals, on PyTorch."""
