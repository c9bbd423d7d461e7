"""What the probes bring and cost: overfitting without a validation set, flips against the rate, overhead."""
