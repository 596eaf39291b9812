"""What happens in which order, on any device: epochs, stopping, schedules, L-BFGS."""
