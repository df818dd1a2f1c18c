"""Running somebody's network and leaving it as it was: modes, stand-ins, what comes out, and where it is not finite."""
