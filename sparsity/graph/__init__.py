"""What a forward pass does with weights: layers, operations, reachability and chains of layers."""
