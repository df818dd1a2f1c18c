"""What a few repetitions can say: intervals, paired tests, ranks, and how many seeds a difference needs."""
