"""Is the diagnosis right? Predictions against measured gains, on worlds whose truth is known."""
