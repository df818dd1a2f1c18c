"""Files in and out: checkpoints of ours and of other programs, read without running what is in them."""
