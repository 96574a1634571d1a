"""Classical methods that bring a thick-slice, noisy scan to a fine grid: the baselines every model is held against."""
