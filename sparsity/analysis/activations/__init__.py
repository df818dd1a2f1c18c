"""What units answer to images."""
