"""What a classifier says of images, beyond how often it is right; of logits and pixels, not of networks."""
