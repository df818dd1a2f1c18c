"""Which weights to prune: saliencies, allocations, schedules and selections as pure functions, without a Trainer."""
