"""One page from runs, studies and checkpoints: what was asked, what came out, and what is left of the networks."""
